/**
 * The directories of test runs in the one for temporary files. Each names the
 * process that it belongs to, so that the next run can tell what was left by one that
 * was killed.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const variable = "REDSYNC_TEST_DIRECTORY"

/** The same for all runs at a time: the workers have one of their run's for `tmpdir()`. */
const shared = process.env[variable] ?? tmpdir()

const prefix = "effect-redsync-test-"

export const pathOf = (name: string): string => join(shared, `${prefix}${name}`)

/** Makes it ours; fails with `EEXIST` where it is somebody's. */
export const claim = (name: string): string => {
  const path = pathOf(name)
  mkdirSync(path)
  writeFileSync(join(path, "owner"), String(process.pid))
  return path
}

export const remove = (path: string): void => rmSync(path, { recursive: true, force: true })

/** Gives the workers, which inherit the environment, a directory for temporary files that goes with us. */
export const scratch = (): string => {
  const name = `run-${process.pid}`
  remove(pathOf(name))
  const path = claim(name)
  process.env[variable] = shared
  process.env["TMPDIR"] = path
  return path
}

/** Removes what runs have left that are gone. */
export const sweep = (): void => {
  for (const name of readdirSync(shared)) {
    if (name.startsWith(prefix) && isLeft(join(shared, name))) remove(join(shared, name))
  }
}

const isLeft = (path: string): boolean => {
  try {
    process.kill(Number(readFileSync(join(path, "owner"), "utf8")), 0)
    return false
  } catch (cause) {
    // Others' processes and those just made are not ours to judge.
    return (cause as NodeJS.ErrnoException).code === "ESRCH"
  }
}
