/**
 * Runs once before all tests: finds out where Redis servers come from, so that
 * a machine without any fails at once and not in every test, and makes a directory
 * for the workers' temporary files, since they hear nothing of their end. They inherit
 * both through the environment.
 */
import { remove, scratch, sweep } from "./leftovers.ts"
import { serverSource } from "./servers/ServerSource.ts"

export default async (): Promise<() => void> => {
  try {
    const source = await serverSource()
    console.log(`Redis servers for tests: ${source.description}`)
  } catch (cause) {
    // Thrown, it would be printed with a stack, a code frame and a complaint about missing test files.
    console.error(cause instanceof Error ? cause.message : cause)
    process.exit(1)
  }
  sweep()
  const directory = scratch()
  return () => remove(directory)
}
