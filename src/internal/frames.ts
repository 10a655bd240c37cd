/**
 * Looking at what a server sends before a client does.
 *
 * A reply is read here only as far as its shape: where it begins and ends, and
 * what the first items of an array are.
 *
 * @see the protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/
 */

/** A reply, or what a server sends unasked, as far as it is looked at. */
export interface Frame {
  /** The character it begins with. */
  readonly type: string
  /** Of an array how many of its items, from the first on, are texts; at most two are looked at. */
  readonly texts: number
  /** Of an array the first item, if that is a short text. */
  readonly first: string
}

const [carriageReturn, lineFeed] = [13, 10]

/** Far more than any reply takes that is ours. */
const mostBytes = 4 * 1024 * 1024
const deepest = 16
const longestFirst = 32

/** Reads what arrives on one connection, in whatever pieces. */
export class Frames {
  /** The beginning of a line, or of a first item, whose end has yet to arrive. */
  #rest: Buffer | undefined
  /** So many bytes of a text are still to come. */
  #skip = 0
  /** So many items are still to come at each depth. */
  readonly #open: Array<number> = []
  #bytes = 0
  #type = ""
  #items = 0
  #texts = 0
  #first = ""

  /** Calls `onFrame` for all that is complete by now. `false` if it is not the protocol, or `onFrame` refuses a frame. */
  read(chunk: Buffer, onFrame: (frame: Frame) => boolean): boolean {
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk])
    this.#rest = undefined
    this.#bytes += chunk.length
    let at = 0
    while (at < bytes.length) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, bytes.length - at)
        at += skipped
        this.#skip -= skipped
        if (this.#skip > 0) break
        if (!this.#end(onFrame)) return false
        continue
      }
      const end = bytes.indexOf(carriageReturn, at)
      if (end === -1 || end + 1 === bytes.length) {
        this.#rest = bytes.subarray(at)
        break
      }
      if (bytes[end + 1] !== lineFeed) return false
      const type = String.fromCharCode(bytes[at]!)
      const next = end + 2
      if (this.#open.length === 0) {
        this.#type = type
        this.#items = this.#texts = 0
        this.#first = ""
      }
      if ("+-:_,#(".includes(type)) {
        this.#item(type === "+" ? bytes.subarray(at + 1, end) : undefined)
        if (!this.#end(onFrame)) return false
        at = next
        continue
      }
      const length = lengthOf(bytes, at + 1, end)
      if (length === undefined) return false
      if (length === -1) {
        this.#item(undefined)
        if (!this.#end(onFrame)) return false
      } else if ("$=!".includes(type)) {
        const isFirst = this.#open.length === 1 && this.#items === 0 && length <= longestFirst
        if (isFirst && next + length > bytes.length) {
          this.#rest = bytes.subarray(at)
          break
        }
        this.#item(isFirst ? bytes.subarray(next, next + length) : empty)
        this.#skip = length + 2
      } else if ("*~%>|".includes(type)) {
        if (this.#open.length === deepest) return false
        this.#item(undefined)
        this.#open.push("%|".includes(type) ? length * 2 : length)
        if (length === 0 && !this.#close(onFrame)) return false
      } else {
        return false
      }
      at = next
    }
    return this.#bytes <= mostBytes
  }

  /** Another item of an array that is a frame itself. */
  #item(text: Buffer | undefined): void {
    if (this.#open.length !== 1) return
    const index = this.#items++
    if (index > 1 || text === undefined || this.#texts < index) return
    this.#texts++
    if (index === 0) this.#first = text.toString("latin1")
  }

  /** An item is complete, and so may be the arrays that it is in. */
  #end(onFrame: (frame: Frame) => boolean): boolean {
    if (this.#open.length === 0) return this.#complete(onFrame)
    const last = this.#open.length - 1
    this.#open[last]!--
    return this.#open[last] !== 0 || this.#close(onFrame)
  }

  #close(onFrame: (frame: Frame) => boolean): boolean {
    this.#open.pop()
    return this.#end(onFrame)
  }

  #complete(onFrame: (frame: Frame) => boolean): boolean {
    if (this.#bytes > mostBytes) return false
    this.#bytes = 0
    return onFrame({ type: this.#type, texts: this.#texts, first: this.#first })
  }
}

const empty = Buffer.alloc(0)

const lengthOf = (bytes: Buffer, from: number, end: number): number | undefined => {
  // Most are of one digit.
  const digit = bytes[from]! - 48
  if (end === from + 1) return digit >= 0 && digit <= 9 ? digit : undefined
  const text = bytes.toString("latin1", from, end)
  return /^(\d{1,10}|-1)$/.test(text) ? Number(text) : undefined
}
