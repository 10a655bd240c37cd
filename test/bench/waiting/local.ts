/** Many fibers of one process on one name, beside a semaphore that knows no servers. */
import { Effect } from "effect"
import { now } from "../clock.ts"
import { alternating, type Scenario } from "../scenario.ts"
import { median } from "../statistics.ts"
import { range, short } from "../table.ts"
import { contenders, warmUpMillis, withWorkers } from "./workers.ts"

const kinds = ["effect-redsync", "effect-redsync, fenced", "Effect's Semaphore, no servers"] as const

export const local: Scenario = (setting) =>
  Effect.gen(function*() {
    const fibers = setting.quick ? 100 : 1000
    const results = yield* withWorkers(
      setting,
      { processes: 1, clients: 0, contender: "effect-redsync" },
      ([worker]) =>
        alternating(kinds, setting.quick ? 1 : setting.rounds ?? 5, (kind) =>
          kind === "Effect's Semaphore, no servers"
            ? worker!.ask("semaphoreCrowd", { fibers })
            : worker!.ask("localCrowd", { fibers, name: "local", yields: true, fenced: kind !== "effect-redsync" }))
    )
    const peers = contenders(setting).filter((name) => name !== "effect-redsync")
    const millis = setting.quick ? 300 : 5000
    const others = yield* alternating(
      peers,
      1,
      (contender) =>
        withWorkers(setting, { processes: 1, clients: 1, contender }, ([worker]) => {
          const from = now() + warmUpMillis(setting)
          const options = { name: "local", heldMillis: 0, restMillis: 0, from, until: from + millis, fibers }
          return Effect.map(worker!.ask("crowd", options), ({ sent, turns }) => {
            const count = turns.filter(({ acquired }) => acquired >= from).length
            return { perSecond: count / millis * 1000, perNode: sent / count / setting.servers.length }
          })
        })
    )
    type Result = typeof results[typeof kinds[number]][number]
    const perSecond = ({ millis }: Result) => fibers / millis * 1000
    const perNode = ({ sent }: Result) => sent / fibers / setting.servers.length
    const of = (kind: typeof kinds[number], f: (result: Result) => number) => median(results[kind].map(f))
    const ordered = results["effect-redsync"].every(({ inOrder }) => inOrder)
    const commands = of("effect-redsync", perNode)
    const [ours, theirs] = [of("effect-redsync", perSecond), of("Effect's Semaphore, no servers", perSecond)]
    return {
      tables: [{
        title: `Local crowd: ${fibers.toLocaleString("en")} fibers of one process on one name, 3 nodes`,
        rows: [
          ["", "acquisitions/s", "commands per node and acquisition", "first come first served"],
          ...kinds.map((kind) => [
            kind,
            range(results[kind].map(perSecond)),
            range(results[kind].map(perNode)),
            results[kind].every(({ inOrder }) => inOrder) ? "yes" : "no"
          ]),
          ...peers.map((name) => [
            name,
            short(others[name][0]!.perSecond),
            short(others[name][0]!.perNode),
            "no"
          ])
        ],
        notes: [
          "Each yields once while it has the lock. The other libraries' fibers ask again as soon as they have left, for " +
          `${millis / 1000} s.`
        ]
      }],
      readme: [{
        title: `${fibers.toLocaleString("en")} fibers of one process on one name, 3 nodes: acquisitions/s`,
        rows: [
          ["", "acquisitions/s", "commands per node and acquisition"],
          ...kinds.map((kind) => [kind, short(of(kind, perSecond)), short(of(kind, perNode))]),
          ...peers.map((name) => [name, short(others[name][0]!.perSecond), short(others[name][0]!.perNode)])
        ]
      }],
      aims: [
        { is: "strictly first come first served", met: ordered },
        // Loading the scripts and standing in line once come on top.
        { is: `${commands.toFixed(3)} commands a node; at most 2`, met: commands < 2.02 },
        {
          is: `${ours.toFixed(0)} acquisitions/s; at least those of Effect's Semaphore, ${theirs.toFixed(0)}`,
          met: ours >= theirs
        }
      ],
      samples: { ...results, ...others }
    }
  })
