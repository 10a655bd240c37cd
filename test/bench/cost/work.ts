/** What is measured, the same for everyone. */

export interface Client {
  /**
   * Does the same over and over, so many at once. `isOver` is asked after each,
   * and told in milliseconds how long it took.
   */
  readonly repeat: (work: Work, inFlight: number, isOver: (millis: number) => boolean) => Promise<void>
  /** Takes the lock, holds it while the body runs, and releases it. */
  readonly hold: (name: string, body: () => Promise<void>) => Promise<void>
}

/** Lock and unlock under a fresh name, or try once to get a lock that somebody else has. */
export type Work = "lock and unlock" | "refused"

export type Open = (urls: ReadonlyArray<string>) => Promise<Client>

export const expiryMillis = 8000

let count = 0
/** Never the same twice, in this process and elsewhere. */
export const freshName = () => `bench:${process.pid}:${count++}`

/** The key that somebody else has while refusals are measured. */
export const takenName = "taken"

export const repeating =
  (works: Readonly<Record<Work, () => Promise<void>>>): Client["repeat"] => async (work, inFlight, isOver) => {
    const once = works[work]
    const loop = async () => {
      for (;;) {
        const before = performance.now()
        await once()
        if (isOver(performance.now() - before)) return
      }
    }
    await Promise.all(Array.from({ length: inFlight }, loop))
  }

export const mustBeRefused = () => new Error(`${takenName} was free`)
