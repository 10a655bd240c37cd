/**
 * The parts of a plan that can be left out, to see whether the rest still fails.
 *
 * `p3` is a process, `p3.1.2` the third thing that its second fiber does, `f4` a
 * fault; all counted in the plan as it was drawn from the seed.
 */
import { run } from "./history.ts"
import type { Plan } from "./plan/plan.ts"

export const without = (plan: Plan, parts: Iterable<string>): Plan => {
  const left = new Set(parts)
  return {
    ...plan,
    faults: plan.faults.filter((_, index) => !left.has(`f${index}`)),
    // Processes keep their places, and what chance has in store for them.
    processes: plan.processes.map((process, index) => {
      const name = `p${index + 1}`
      return {
        ...process,
        workers: left.has(name) ?
          [] :
          process.workers.map((ops, worker) => ops.filter((_, op) => !left.has(`${name}.${worker}.${op}`)))
      }
    })
  }
}

/** Large parts first. */
const partsOf = ({ faults, processes }: Plan): Array<string> => [
  ...processes.map((_, index) => `p${index + 1}`),
  ...faults.map((_, index) => `f${index}`),
  ...processes.flatMap(({ workers }, index) =>
    workers.flatMap((ops, worker) => ops.map((_, op) => `p${index + 1}.${worker}.${op}`))
  )
]

const mostRuns = 1000

/** As many parts as can be left out with the same promise still broken. */
export const shrink = (plan: Plan, promise: string): Array<string> => {
  const left = new Set<string>()
  let runs = 0
  const fails = () => run(without(plan, left)).violations.some((violation) => violation.promise === promise)
  for (let isSmaller = true; isSmaller;) {
    isSmaller = false
    for (const part of partsOf(plan)) {
      const isIn = left.has(part) || left.has(part.replace(/\..*/, ""))
      if (isIn || ++runs > mostRuns) continue
      left.add(part)
      if (fails()) isSmaller = true
      else left.delete(part)
    }
  }
  return [...left].filter((part) => !part.includes(".") || !left.has(part.replace(/\..*/, "")))
}
