/**
 * Runs once before all tests: finds out where Redis servers come from, so that
 * a machine without any fails at once and not in every test, and makes a directory
 * for what workers leave, which hear nothing of their end. They inherit both through
 * the environment.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { serverSource } from "./ServerSource.ts"

export default async (): Promise<() => void> => {
  try {
    const source = await serverSource()
    console.log(`Redis servers for tests: ${source.description}`)
  } catch (cause) {
    // Thrown, it would be printed with a stack, a code frame and a complaint about missing test files.
    console.error(cause instanceof Error ? cause.message : cause)
    process.exit(1)
  }
  const scratch = mkdtempSync(join(tmpdir(), "effect-redsync-scratch-"))
  process.env["REDSYNC_TEST_SCRATCH"] = scratch
  return () => rmSync(scratch, { recursive: true, force: true })
}
