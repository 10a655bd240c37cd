/**
 * Runs once before all tests: finds out where Redis servers come from, so that
 * a machine without any fails at once and not in every test. The workers
 * inherit the decision through the environment.
 */
import { serverSource } from "./ServerSource.ts"

export default async (): Promise<void> => {
  try {
    const source = await serverSource()
    console.log(`Redis servers for tests: ${source.description}`)
  } catch (cause) {
    // Thrown, it would be printed with a stack, a code frame and a complaint about missing test files.
    console.error(cause instanceof Error ? cause.message : cause)
    process.exit(1)
  }
}
