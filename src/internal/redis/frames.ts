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

  /**
   * Calls `onFrame` for all that is complete by now. How many bytes of the piece are
   * good: all, or those before what is not the protocol, or what `onFrame` refuses.
   */
  read(piece: Buffer, onFrame: (frame: Frame) => boolean): number {
    const before = this.#rest?.length ?? 0
    const bytes = this.#rest === undefined ? piece : Buffer.concat([this.#rest, piece])
    this.#rest = undefined
    this.#bytes += piece.length
    let at = 0
    let good = 0
    while (at < bytes.length) {
      const next = this.#readItem(bytes, at, onFrame)
      if (next === undefined) return Math.max(0, good - before)
      if (next === at) break
      at = next
      if (this.#open.length === 0 && this.#skip === 0) good = at
    }
    return this.#bytes <= mostBytes ? piece.length : Math.max(0, good - before)
  }

  /** How many of the last bytes are of a line that is not complete, and not judged yet. */
  get waiting(): number {
    return this.#rest?.length ?? 0
  }

  /** Where the next item begins, the same place if this one has to be read again when there is more. */
  #readItem(bytes: Buffer, at: number, onFrame: (frame: Frame) => boolean): number | undefined {
    if (this.#skip > 0) {
      const skipped = Math.min(this.#skip, bytes.length - at)
      this.#skip -= skipped
      return this.#skip > 0 || this.#end(onFrame) ? at + skipped : undefined
    }
    const end = bytes.indexOf(carriageReturn, at)
    if (end === -1 || end + 1 === bytes.length) return this.#wait(bytes, at)
    if (bytes[end + 1] !== lineFeed) return undefined
    const type = String.fromCharCode(bytes[at]!)
    const next = end + 2
    if (this.#open.length === 0) {
      this.#type = type
      this.#items = this.#texts = 0
      this.#first = ""
    }
    if ("+-:_,#(".includes(type)) {
      if (!isLine(type, bytes, at + 1, end)) return undefined
      this.#item(type === "+" ? bytes.subarray(at + 1, end) : undefined)
      return this.#end(onFrame) ? next : undefined
    }
    const length = lengthOf(bytes, at + 1, end)
    if (length === undefined) return undefined
    if (length === -1) {
      if (type !== "$" && type !== "*") return undefined
      this.#item(undefined)
      return this.#end(onFrame) ? next : undefined
    }
    // A verbatim string begins with its format and a colon.
    if (type === "=" && length < 4) return undefined
    if ("$=!".includes(type)) {
      const isFirst = this.#open.length === 1 && this.#items === 0 && length <= longestFirst
      if (isFirst && next + length > bytes.length) return this.#wait(bytes, at)
      this.#item(isFirst ? bytes.subarray(next, next + length) : empty)
      this.#skip = length + 2
      return next
    }
    if (!"*~%>|".includes(type) || this.#open.length === deepest) return undefined
    this.#item(undefined)
    this.#open.push("%|".includes(type) ? length * 2 : length)
    return length > 0 || this.#close(onFrame) ? next : undefined
  }

  #wait(bytes: Buffer, at: number): number {
    this.#rest = bytes.subarray(at)
    return at
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

const lines: Record<string, RegExp> = {
  ":": /^[+-]?\d{1,20}$/,
  _: /^$/,
  ",": /^(?:[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|inf)|nan)$/,
  "#": /^[tf]$/,
  "(": /^[+-]?\d+$/
}

/**
 * Whether a line says what its type allows. Parsers take that for granted, go on so many bytes later, and would find there
 * what we have not looked at.
 */
const isLine = (type: string, bytes: Buffer, from: number, end: number): boolean => {
  if (type === "+" || type === "-") return true
  // Most are numbers of one digit.
  const isDigit = end === from + 1 && bytes[from]! >= 48 && bytes[from]! <= 57
  return (isDigit && type === ":") || lines[type]!.test(bytes.toString("latin1", from, end))
}

const lengthOf = (bytes: Buffer, from: number, end: number): number | undefined => {
  // Most are of one digit.
  const digit = bytes[from]! - 48
  if (end === from + 1) return digit >= 0 && digit <= 9 ? digit : undefined
  const text = bytes.toString("latin1", from, end)
  return /^(\d{1,10}|-1)$/.test(text) ? Number(text) : undefined
}
