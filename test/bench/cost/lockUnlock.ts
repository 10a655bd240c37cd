/**
 * Lock and unlock under names that nobody else uses, and locks that are refused:
 * what the algorithm costs where there is nothing to wait for.
 */
import { Effect } from "effect"
import type { Aim, Report, Scenario, Table } from "../scenario.ts"
import { median, quantile } from "../statistics.ts"
import { drawBars } from "../svg.ts"
import { short } from "../table.ts"
import { type ContenderName, names, peerNames } from "./contenders.ts"
import { compare, type Sample, type Samples } from "./measure.ts"

/** Enough to see that it runs. */
const few: ReadonlyArray<ContenderName> = ["raw", "raw, auto-pipelined", "effect-redsync"]

const lockAndUnlock = (nodes: number): Scenario => (setting) =>
  Effect.map(
    compare(setting, setting.servers.slice(0, nodes), {
      work: "lock and unlock",
      flights: setting.quick ? [1, 64] : [1, 8, 64, 256],
      contenders: setting.quick && nodes !== 3 ? few : names,
      rounds: 15
    }),
    (measured) => ({
      tables: [...measured].map(([inFlight, samples]) => tableOf("Lock and unlock", nodes, inFlight, samples)),
      aims: setting.quick ? [] : [...measured].flatMap(([inFlight, samples]) => aimsOf(nodes, inFlight, samples)),
      samples: compact(measured),
      ...(nodes === 3 && !setting.quick && highlights(measured))
    })
  )

const refused: Scenario = (setting) =>
  Effect.map(
    compare(setting, setting.servers.slice(0, 3), {
      work: "refused",
      flights: setting.quick ? [64] : [1, 64],
      contenders: setting.quick ? few : names,
      rounds: 15
    }),
    (measured) => ({
      tables: [...measured].map(([inFlight, samples]) => tableOf("A refused attempt", 3, inFlight, samples)),
      aims: [...measured].map(([inFlight, samples]): Aim => {
        const ratio = median(ratios(samples, "effect-redsync", "raw", cpuOf))
        return {
          is: `refused, 3 nodes, ${inFlight} in flight: CPU is ${ratio.toFixed(2)} × raw; at most 1.0`,
          met: ratio <= 1
        }
      }),
      samples: compact(measured)
    })
  )

export const scenarios: Record<string, Scenario> = {
  "lock-1": lockAndUnlock(1),
  "lock-3": lockAndUnlock(3),
  "lock-5": lockAndUnlock(5),
  refused
}

/** For the README. */
const highlights = (measured: ReadonlyMap<number, Samples>): Pick<Report, "pictures" | "readme"> => {
  const samples = measured.get(64)!
  const measure = (title: string, f: (sample: Sample) => number) => ({
    title,
    values: names.map((name) => {
      const values = samples[name].map(f)
      return { median: median(values), low: quantile(values, 0.25), high: quantile(values, 0.75) }
    })
  })
  return {
    pictures: {
      "lock.svg": drawBars({
        title: "What a lock and unlock costs",
        subtitle: "3 nodes, 64 in flight; medians of the rounds, with the middle half of them. Shorter is better.",
        rows: names.map((name) => ({ label: name, kind: kindOf(name) })),
        measures: [
          measure("CPU of the client, µs", cpuOf),
          measure("p99, ms", ({ p99 }) => p99)
        ]
      })
    },
    readme: [
      { picture: "lock.svg", alt: "CPU and p99 of a lock and unlock, by library" },
      {
        title: "CPU of the client for a lock and unlock on 3 nodes, as a multiple of the better raw loop",
        rows: [
          ["in flight", ...measured.keys()].map(String),
          ...names.map((name) => [
            name,
            ...[...measured.values()].map((samples) =>
              median(ratios(samples, name, betterRaw(samples), cpuOf)).toFixed(2)
            )
          ])
        ],
        notes: [
          "All numbers: [table.md](results/table.md). Where the time goes: [profile.md](results/profile.md)."
        ]
      },
      { title: "Where the workloads differ", rows: lessWork }
    ]
  }
}

const kindOf = (name: ContenderName) => name === "effect-redsync" ? "ours" : name.startsWith("raw") ? "raw" : "other"

/** As their sources have it, in the versions that are measured. */
const lessWork = [
  [
    "",
    "waits for",
    "gives up on a silent node after",
    "checks that time is left",
    "cleans up after a failed attempt",
    "extends the lease here"
  ],
  ["raw", "all nodes", "never", "no", "no", "no"],
  ["effect-redsync", "a quorum", "400 ms", "yes", "on every node that may have it", "yes"],
  ["redlock", "a quorum", "never", "no", "on all nodes, once no retry is left", "no, only `using` does"],
  [
    "@sesamecare-oss/redlock",
    "a quorum",
    "never",
    "no",
    "on all nodes, once no retry is left",
    "no, only `using` does"
  ],
  ["redis-semaphore", "all nodes", "never", "no", "on all nodes", "yes"],
  [
    "redlock-universal",
    "all nodes",
    "5 s",
    "yes",
    "on nodes that granted it, not on silent nodes",
    "no, only `using` does"
  ]
]

/** All but where the run was a quick one. */
const namesIn = (samples: Samples) => names.filter((name) => name in samples)

const ratios = (samples: Samples, name: ContenderName, to: ContenderName, f: (sample: Sample) => number) =>
  samples[name].map((sample, index) => f(sample) / f(samples[to][index]!))

const cpuOf = ({ cpu }: Sample) => cpu

const tableOf = (what: string, nodes: number, inFlight: number, samples: Samples): Table => {
  const better = betterRaw(samples)
  const middle = (name: ContenderName, f: (sample: Sample) => number) => short(median(samples[name].map(f)))
  return {
    title: `${what}, ${nodes} ${nodes === 1 ? "node" : "nodes"}, ${inFlight} in flight`,
    rows: [
      [
        "",
        "CPU / better raw",
        "CPU µs (quartiles)",
        "a second",
        "p50 ms",
        "p99 ms",
        "commands",
        "bytes sent",
        "bytes got",
        "servers' CPU µs"
      ],
      ...namesIn(samples).map((name) => {
        const cpu = samples[name].map(cpuOf)
        return [
          name,
          median(ratios(samples, name, better, cpuOf)).toFixed(2),
          `${short(median(cpu))} (${short(quantile(cpu, 0.25))}–${short(quantile(cpu, 0.75))})`,
          median(samples[name].map(({ perSecond }) => perSecond)).toFixed(0),
          middle(name, ({ p50 }) => p50),
          middle(name, ({ p99 }) => p99),
          middle(name, ({ commands }) => commands),
          middle(name, ({ bytesIn }) => bytesIn),
          middle(name, ({ bytesOut }) => bytesOut),
          middle(name, ({ serverCpu }) => serverCpu)
        ]
      })
    ]
  }
}

const betterRaw = (samples: Samples): ContenderName =>
  median(ratios(samples, "raw, auto-pipelined", "raw", cpuOf)) < 1 ? "raw, auto-pipelined" : "raw"

const aimsOf = (nodes: number, inFlight: number, samples: Samples): Array<Aim> => {
  const where = `${nodes} nodes, ${inFlight} in flight`
  if (inFlight === 1) {
    const ratio = median(ratios(samples, "effect-redsync", "raw", ({ p50 }) => p50))
    return [{ is: `${where}: p50 is ${ratio.toFixed(2)} × raw; at most 1.1`, met: ratio <= 1.1 }]
  }
  if (nodes < 3 || inFlight < 64) return []
  const better = betterRaw(samples)
  const ratio = median(ratios(samples, "effect-redsync", better, cpuOf))
  const toPeers = peerNames.map((name) => median(ratios(samples, "effect-redsync", name, cpuOf)))
  return [
    { is: `${where}: CPU is ${ratio.toFixed(2)} × ${better}; at most 1.0`, met: ratio <= 1 },
    {
      is: `${where}: CPU is ${toPeers.map((ratio) => ratio.toFixed(2)).join(", ")} × ${
        peerNames.join(", ")
      }; at most 0.4`,
      met: toPeers.every((ratio) => ratio <= 0.4)
    }
  ]
}

/** The samples in as few characters as they need. */
const compact = (measured: ReadonlyMap<number, Samples>) => ({
  fields,
  ...Object.fromEntries(
    [...measured].map(([inFlight, samples]) => [
      `${inFlight} in flight`,
      Object.fromEntries(
        namesIn(samples).map((name) => [
          name,
          samples[name].map((sample) => fields.map((field) => Number(sample[field].toPrecision(4))))
        ])
      )
    ])
  )
})

const fields = [
  "operations",
  "millis",
  "cpu",
  "p50",
  "p99",
  "commands",
  "bytesIn",
  "bytesOut",
  "serverCpu"
] as const
