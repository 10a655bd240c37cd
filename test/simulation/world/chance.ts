/**
 * A seeded source of chance. All randomness of a history comes from sources that
 * are derived from its seed.
 */
export class Chance {
  #a: number
  #b: number
  #c: number
  #d = 1

  constructor(seed: number, stream = 0) {
    this.#a = seed | 0
    this.#b = (seed / 0x100000000) | 0
    this.#c = stream | 0
    for (let i = 0; i < 15; i++) this.#next()
  }

  /** The small fast counter generator of PractRand: 32 bits. */
  #next(): number {
    const t = (this.#a + this.#b + this.#d) | 0
    this.#d = (this.#d + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (this.#c << 21) | (this.#c >>> 11)
    this.#c = (this.#c + t) | 0
    return t >>> 0
  }

  /** From 0 up to, but not including, 1. */
  double(): number {
    return this.#next() / 0x100000000
  }

  between(min: number, max: number): number {
    return min + (max - min) * this.double()
  }

  /** A whole number from `min` to `max`, both included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.double() * (max - min + 1))
  }

  /** `true` in so many of all cases. */
  in(share: number): boolean {
    return this.double() < share
  }

  pick<A>(choices: ReadonlyArray<A>): A {
    return choices[this.int(0, choices.length - 1)]!
  }

  /** Small values often, large ones rarely. */
  skewed(min: number, max: number): number {
    return min + (max - min) * this.double() ** 3
  }

  /** A whole number from `min` to `max`, small ones more often. */
  skewedInt(min: number, max: number): number {
    return Math.min(max, Math.floor(this.skewed(min, max + 1)))
  }

  bytes(into: Uint8Array): void {
    for (let i = 0; i < into.length; i++) into[i] = this.#next() >>> 24
  }

  /** A source of its own, so that what one part draws does not shift what another gets. */
  fork(): Chance {
    return new Chance(this.#next(), this.#next())
  }
}
