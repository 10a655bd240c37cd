/**
 * The random values by which claims are told apart.
 */
import type { webcrypto } from "node:crypto"

/** The number of bytes that all values of a service have in common, at their beginning. */
const serviceIdBytes = 9

/** The number of random bytes that follow them, different in every value. */
const randomBytes = 12

export class Values {
  /** The beginning of every value of this service, which tells other services whose value it is. */
  readonly serviceId: string
  readonly #crypto: Pick<webcrypto.Crypto, "getRandomValues">
  readonly #random = Buffer.alloc(256 * randomBytes)
  #unused = this.#random.length

  constructor(crypto: Pick<webcrypto.Crypto, "getRandomValues">) {
    this.#crypto = crypto
    this.serviceId = Buffer.from(crypto.getRandomValues(new Uint8Array(serviceIdBytes))).toString("base64")
  }

  /**
   * The service's id and 12 fresh random bytes in base64. The random bytes of many values are drawn
   * at once, and each is used once.
   */
  next(): string {
    if (this.#unused === this.#random.length) {
      this.#crypto.getRandomValues(this.#random)
      this.#unused = 0
    }
    return this.serviceId + this.#random.toString("base64", this.#unused, this.#unused += randomBytes)
  }
}
