/** What every scenario of the benchmark is. */
import { Effect } from "effect"
import type { RedisServer } from "../support/servers/RedisServers.ts"

export interface Setting {
  readonly servers: ReadonlyArray<RedisServer>
  /** To see that it runs: one short round each, which says nothing of speed. */
  readonly quick: boolean
  /** How many rounds, where not as many as the scenario takes of itself. */
  readonly rounds: number | undefined
  /** Where the measured processes' CPU profiles go, if anywhere. */
  readonly profiles: string | undefined
}

export interface Table {
  readonly title: string
  /** The first row is the header. */
  readonly rows: ReadonlyArray<ReadonlyArray<string>>
  readonly notes?: ReadonlyArray<string>
}

export interface Aim {
  readonly is: string
  readonly met: boolean
}

export interface Report {
  readonly tables: ReadonlyArray<Table>
  readonly aims: ReadonlyArray<Aim>
  readonly samples: unknown
  /** SVG by file name. */
  readonly pictures?: Readonly<Record<string, string>>
  /** What of it is shown in the README. */
  readonly readme?: ReadonlyArray<Table | Picture>
}

export interface Picture {
  readonly picture: string
  readonly alt: string
}

export type Scenario = (setting: Setting) => Effect.Effect<Report>

/**
 * Rounds of all contenders in turn, so that noise hits all alike. Each round
 * begins with another one, so that none always comes after the same.
 */
export const alternating = <K extends string, A>(
  contenders: ReadonlyArray<K>,
  rounds: number,
  round: (contender: K) => Effect.Effect<A>
): Effect.Effect<Record<K, Array<A>>> =>
  Effect.gen(function*() {
    const results = Object.fromEntries(contenders.map((name) => [name, [] as Array<A>])) as Record<K, Array<A>>
    for (let index = 0; index < rounds; index++) {
      const first = index % contenders.length
      for (const name of [...contenders.slice(first), ...contenders.slice(0, first)]) {
        results[name].push(yield* round(name))
      }
    }
    return results
  })
