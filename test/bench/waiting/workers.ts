/** The processes that contend, each round with fresh ones on empty servers. */
import { Effect } from "effect"
import { start, type Worker as AnyWorker } from "../processes.ts"
import type { Setting } from "../scenario.ts"
import { type ContenderName, libraries } from "./contenders.ts"
import type { WaitingJobs } from "./worker.ts"

export type Worker = AnyWorker<WaitingJobs>

export interface WorkersOptions {
  readonly processes: number
  readonly clients: number
  readonly contender: ContenderName
  /** Under which URLs a process knows the servers, where not under their own. */
  readonly urlsOf?: (process: number) => ReadonlyArray<string>
}

export const withWorkers = <A>(
  { profiles, servers }: Setting,
  options: WorkersOptions,
  body: (workers: ReadonlyArray<Worker>) => Effect.Effect<A>
): Effect.Effect<A> =>
  Effect.scoped(Effect.gen(function*() {
    yield* Effect.forEach(servers, (server) => server.command("FLUSHALL"))
    const flags = profiles === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profiles}`]
    const workers = yield* Effect.forEach(
      Array.from({ length: options.processes }),
      () => start<WaitingJobs>(new URL("./worker.ts", import.meta.url), flags)
    )
    const { clients, contender, urlsOf = () => servers.map(({ url }) => url) } = options
    yield* Effect.forEach(
      workers,
      (worker, index) => worker.ask("open", { contender, clients, urls: urlsOf(index) }),
      { concurrency: "unbounded" }
    )
    return yield* body(workers)
  }))

export const contenders = ({ quick }: Setting): ReadonlyArray<ContenderName> =>
  quick ? ["effect-redsync", "redis-semaphore"] : libraries

/** What comes first opens connections and compiles. */
export const warmUpMillis = ({ quick }: Setting): number => quick ? 300 : 1500
