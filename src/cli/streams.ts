/**
 * Standard output and error, as code in this process finds them.
 */
import { fstatSync, writeSync } from "node:fs"
import { Writable } from "node:stream"

/**
 * Leaves inherited pipes as they are. Node makes them non-blocking, for every process that writes to them, as soon as
 * `process.stderr` or `process.stdout` is read, which Node itself does when a socket closes.
 */
export const keepPipesAsTheyAre = (): void => {
  for (const [fd, name] of [[1, "stdout"], [2, "stderr"]] as const) {
    if (!isPipe(fd)) continue
    let stream: Writable | undefined
    Object.defineProperty(process, name, { configurable: true, get: () => stream ??= writing(fd) })
  }
}

const isPipe = (fd: number): boolean => {
  try {
    const stat = fstatSync(fd)
    return stat.isFIFO() || stat.isSocket()
  } catch {
    return false
  }
}

const writing = (fd: number): Writable =>
  Object.assign(
    new Writable({
      write: (chunk: Uint8Array, _, done) => {
        try {
          writeSync(fd, chunk)
        } catch {
          // Nobody reads it.
        }
        done()
      }
    }),
    { fd }
  )
