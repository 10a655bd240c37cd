/**
 * The random values by which claims are told apart.
 */
import type { webcrypto } from "node:crypto"

/** How many bytes all values of a service begin with. */
const serviceIdBytes = 9

/** How many random bytes a value has of its own behind them. */
const randomBytes = 12

export class Values {
  /** The beginning of every value of this service: whoever sees a value knows whose it is. */
  readonly serviceId: string
  readonly #crypto: Pick<webcrypto.Crypto, "getRandomValues">
  readonly #random = Buffer.alloc(256 * randomBytes)
  #unused = this.#random.length

  constructor(crypto: Pick<webcrypto.Crypto, "getRandomValues">) {
    this.#crypto = crypto
    this.serviceId = Buffer.from(crypto.getRandomValues(new Uint8Array(serviceIdBytes))).toString("base64")
  }

  /** The service's id and 12 fresh random bytes in base64. The bytes are drawn for many at once, and used once. */
  next(): string {
    if (this.#unused === this.#random.length) {
      this.#crypto.getRandomValues(this.#random)
      this.#unused = 0
    }
    return this.serviceId + this.#random.toString("base64", this.#unused, this.#unused += randomBytes)
  }
}
