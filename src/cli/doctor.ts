/**
 * `redsync doctor`: whether the nodes are suitable for locking, in plain words.
 */
import * as Cli from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { majority } from "../internal/claim/settings.ts"
import { examine } from "./doctor/examine.ts"
import { error, type Finding, note, type Patient, warning } from "./doctor/finding.ts"
import { Failure, wrongOptionsAreUsage } from "./failure.ts"
import { givenOptions } from "./nodes.ts"
import { type Colour, counted, json, noLog, type Paint, paint, quorumOf } from "./output.ts"
import { switchFlag } from "./switch.ts"

/** Findings about the nodes as a whole. */
export const compare = (patients: ReadonlyArray<Patient>, quorum: number): ReadonlyArray<Finding> => {
  const byServer = new Map<string, Array<string>>()
  for (const { node, runId } of patients) {
    if (runId !== undefined) byServer.set(runId, [...byServer.get(runId) ?? [], node])
  }
  const shared = [...byServer.values()].filter((nodes) => nodes.length > 1).map((nodes) =>
    error(
      "same server",
      `${nodes.join(" and ")} are the same server, which then has ${nodes.length} votes`,
      "List it once."
    )
  )
  const count = patients.length
  if (count === 1) {
    return [...shared, note("count", "with a single node, all locks are lost with it; 3 or 5 nodes tolerate failures")]
  }
  return count % 2 === 1 || quorum !== majority(count) ? shared : [
    ...shared,
    warning(
      "count",
      `${count} nodes tolerate no more failures than ${count - 1}, and split votes are more frequent`,
      `Use an odd number: ${count - 1} or ${count + 1}.`
    )
  ]
}

const marks: Record<Finding["level"], readonly [Colour, string]> = {
  error: ["red", "error  "],
  warning: ["yellow", "warning"],
  note: ["dim", "note   "]
}

const findingLine = (paint: Paint) => ({ advice, level, message }: Finding): string => {
  const [colour, mark] = marks[level]
  return `  ${paint(colour, mark)}  ${message.replace(/\.*$/, ".")}${advice === undefined ? "" : ` ${advice}`}`
}

const describe = (patient: Patient, paint: Paint): ReadonlyArray<string> => {
  const { clockOffsetMillis, findings, node, role, roundTripMillis, uptimeSeconds, version } = patient
  const facts = [
    version,
    role,
    uptimeSeconds === undefined ? undefined : `up ${Duration.format(Duration.seconds(uptimeSeconds))}`,
    roundTripMillis === undefined ? undefined : `round trip ${roundTripMillis} ms`,
    clockOffsetMillis === undefined ? undefined : `clock ${clockOffsetMillis >= 0 ? "+" : ""}${clockOffsetMillis} ms`
  ].filter((fact) => fact !== undefined)
  // A node that could not be tried is not known to be suitable.
  const isWell = findings.every(({ check, level }) => level === "note" && check !== "rights")
  const parts = [
    ...isWell ? [paint("green", "suitable for locking")] : [],
    ...facts.length > 0 ? [facts.join(", ")] : []
  ]
  return [
    [paint("bold", node), ...parts.length > 0 ? [parts.join(": ")] : []].join("  "),
    ...findings.map(findingLine(paint))
  ]
}

export const doctor = Cli.make(
  "doctor",
  {
    json: switchFlag("json", "Print a JSON object"),
    name: Flag.String("name").pipe(
      Flag.withDescription(
        "For a Redis user confined to some names: a name that it may lock, to which the name of the probe key is appended"
      ),
      Flag.withDefault("redsync:doctor")
    )
  },
  Effect.fn(function*({ json: asJson, name }) {
    // Rejects what `run` rejects.
    const { delayedRestart = 0, prefix = "", replicas = 0, targets, quorum = majority(targets.length) } =
      yield* givenOptions
    const options = { name: prefix + name, delayedRestartMillis: Duration.toMillis(delayedRestart), replicas }
    const patients = yield* Effect.forEach(targets, (target) => examine(target, options), { concurrency: "unbounded" })
      .pipe(
        wrongOptionsAreUsage,
        Effect.provide(noLog)
      )
    const findings = compare(patients, quorum)
    const all = [...findings, ...patients.flatMap(({ findings }) => findings)]
    const count = (level: Finding["level"]) => all.filter((finding) => finding.level === level).length
    if (asJson) {
      yield* Console.log(json({ nodes: patients, findings, errors: count("error"), warnings: count("warning") }))
    } else {
      const colours = yield* paint
      const lines = patients.flatMap((patient) => describe(patient, colours))
      const together = findings.length === 0
        ? []
        : [colours("bold", "all nodes"), ...findings.map(findingLine(colours))]
      yield* Console.log(
        [...lines, ...together, verdict(patients.length, quorum, count("error"), count("warning"))].join("\n")
      )
    }
    if (count("error") > 0) return yield* new Failure({ code: 1, message: "" })
  })
).pipe(
  Cli.withDescription(
    "Checks whether the nodes are suitable for locking: reachable, independent, with the permissions that locks need, and not prone to " +
      "lose or evict them. Verifies the permissions with a probe key. Exits with 1 if there are errors."
  ),
  Cli.withShortDescription("Checks whether the nodes are suitable for locking."),
  Cli.withExamples([
    { command: "redsync doctor", description: "The nodes of REDSYNC_NODES" },
    { command: "redsync doctor --delayed-restart 1m", description: "With the delayedRestart of your services" },
    { command: "redsync doctor --json | jq '.errors'", description: "For monitoring" }
  ])
)

const verdict = (nodes: number, quorum: number, errors: number, warnings: number): string =>
  `${counted(nodes, "node")}, ${quorumOf(quorum)}: ${counted(errors, "error")}, ${counted(warnings, "warning")}`
