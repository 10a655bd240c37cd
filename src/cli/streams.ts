/**
 * Standard output and error for whatever looks at them in this process.
 */
import { fstatSync, writeSync } from "node:fs"
import { Writable } from "node:stream"

/**
 * Leaves pipes as we were given them. Node makes them non-blocking, for every process that writes to them, as soon as
 * somebody looks at `process.stderr` or `process.stdout`, as it does itself when a socket closes.
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
