/**
 * Inspects what a server sends before a client parses it.
 *
 * Only the shape of a reply is read: where it begins and ends, and the first items of
 * an array.
 *
 * @see the protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/
 */

/** The shape of a reply, or of a message that was not requested. */
export interface Frame {
  /** Its first character. */
  readonly type: string
  /** For an array, how many of its first two items are texts. */
  readonly texts: number
  /** For an array, its first item, if that is a short text. */
  readonly first: string
}

const [carriageReturn, lineFeed] = [13, 10]

/** Far more than any reply to our commands. */
const mostBytes = 4 * 1024 * 1024
const deepest = 16
const longestFirst = 32

/** Reads what arrives on one connection, however it is split. */
export class Frames {
  /** The beginning of an incomplete line or first item. */
  #rest: Buffer | undefined
  /** The number of missing bytes of a text. */
  #skip = 0
  /** The number of missing items at each depth. */
  readonly #open: Array<number> = []
  #bytes = 0
  #type = ""
  #items = 0
  #texts = 0
  #first = ""

  /**
   * Calls `onFrame` for every complete frame. Returns how many bytes of the piece are
   * valid: all, or those before a violation of the protocol or a frame that `onFrame`
   * refuses.
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

  /** How many of the last bytes are of an incomplete line, which has not been checked yet. */
  get waiting(): number {
    return this.#rest?.length ?? 0
  }

  /** The position of the next item; the same position if this one is incomplete; `undefined` if it is invalid. */
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

  /** Records another item of a top-level array. */
  #item(text: Buffer | undefined): void {
    if (this.#open.length !== 1) return
    const index = this.#items++
    if (index > 1 || text === undefined || this.#texts < index) return
    this.#texts++
    if (index === 0) this.#first = text.toString("latin1")
  }

  /** Ends an item, and with it the arrays whose last item it is. */
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
 * Whether a line is valid for its type. Parsers do not check this; they would skip an invalid length, and read what has not
 * been checked here.
 */
const isLine = (type: string, bytes: Buffer, from: number, end: number): boolean => {
  if (type === "+" || type === "-") return true
  // The most frequent case is a number of one digit.
  const isDigit = end === from + 1 && bytes[from]! >= 48 && bytes[from]! <= 57
  return (isDigit && type === ":") || lines[type]!.test(bytes.toString("latin1", from, end))
}

const lengthOf = (bytes: Buffer, from: number, end: number): number | undefined => {
  // The most frequent case is one digit.
  const digit = bytes[from]! - 48
  if (end === from + 1) return digit >= 0 && digit <= 9 ? digit : undefined
  const text = bytes.toString("latin1", from, end)
  return /^(\d{1,10}|-1)$/.test(text) ? Number(text) : undefined
}
