/**
 * As much of the protocol as it takes to tell where a command or a reply ends.
 *
 * @see RESP: https://redis.io/docs/latest/develop/reference/protocol-spec/
 */

const lineEnd = Buffer.from("\r\n")

/** Where the frame that begins at `at` ends, or -1 if it is not complete or none. */
export const frameEnd = (bytes: Buffer, at: number): number => {
  // A loop, since frames may be nested deeper than a stack is high.
  for (let open = 1; open > 0; open--) {
    const end = bytes.indexOf(lineEnd, at)
    if (end === -1) return -1
    const type = String.fromCharCode(bytes[at]!)
    const size = Number(bytes.toString("latin1", at + 1, end))
    at = end + 2
    if ("+-:_,#(".includes(type)) continue
    if ("$!=*~>%".includes(type) && size === -1) continue
    if (!(size >= 0)) return -1
    if ("$!=".includes(type)) at += size + 2
    else if ("*~>".includes(type)) open += size
    else if (type === "%") open += 2 * size
    else return -1
    if (at > bytes.length) return -1
  }
  return at
}

/** Cuts a stream into frames, as they become complete. */
export class Splitter {
  #rest: Buffer = Buffer.alloc(0)

  push(bytes: Buffer): Array<Buffer> {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    const whole: Array<Buffer> = []
    let at = 0
    for (let end = at; at < all.length; at = end) {
      end = frameEnd(all, at)
      if (end === -1) break
      whole.push(all.subarray(at, end))
    }
    this.#rest = Buffer.from(all.subarray(at))
    return whole
  }
}

/** The words of a command, as clients send it. */
export const words = (frame: Buffer): Array<string> => {
  const all: Array<string> = []
  for (let at = frame.indexOf(lineEnd) + 2; at < frame.length;) {
    const end = frameEnd(frame, at)
    if (end === -1) break
    all.push(frame.toString("latin1", frame.indexOf(lineEnd, at) + 2, end - 2))
    at = end
  }
  return all
}

/** Whether a frame comes without having been asked for. */
export const isUnasked = (frame: Buffer): boolean =>
  frame[0] === 0x3e || /^\*\d+\r\n\$\d+\r\n[ps]?message\r\n/.test(frame.toString("latin1", 0, 40))
