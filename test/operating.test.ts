/**
 * What the examples have for those who operate: the alert rules and the dashboard name
 * the metrics that there are, with the attributes and values they have.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { Redsync, withLock } from "../src/index.ts"
import { type Definition, definitions } from "../src/LockMetrics.ts"
import { root } from "./support/pages.ts"

const read = (name: string) => readFileSync(join(root, "test/examples", name), "utf8")

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly text: string
}

/** A few lines of YAML, of which each rule has an expression on one line or folded. */
const rules = read("alerts.yaml").split(/^ {6}- alert: /m).slice(1).map((text): Rule => ({
  alert: /^\w+/.exec(text)![0],
  expr: /^ {8}expr: (?:>-\n((?: {10}.*\n)+)|(.*)$)/m.exec(text)!.slice(1).join("").trim().replaceAll(/\s+/g, " "),
  text
}))

interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number }
  readonly targets?: ReadonlyArray<{ readonly refId: string; readonly expr: string; readonly legendFormat: string }>
}

const panels = JSON.parse(read("dashboard.json")).panels as ReadonlyArray<Panel>

const targets = panels.flatMap(({ targets = [], title }) => targets.map((target) => ({ ...target, title })))

const all: ReadonlyArray<Definition> = Object.values(definitions)

/** The metric of a series, which has a suffix if it is of a histogram. */
const definitionOf = (series: string) =>
  all.find(({ name, type }) =>
    type === "histogram" ? [`${name}_bucket`, `${name}_sum`, `${name}_count`].includes(series) : name === series
  )

/** Prometheus' own labels of a series, and `le` for the buckets of a histogram. */
const ownLabels = ["instance", "le"]

const valuesOf = ({ attributes }: Definition, label: string): ReadonlyArray<string> =>
  (attributes[label] ?? "").replaceAll(/ \([^)]*\)/g, "").split(", ")

/** Labels by which an expression sums up, and those its alert or legend shows. */
const grouped = (expr: string) => [...expr.matchAll(/by \(([^)]*)\)/g)].map(([, labels]) => labels!.split(", "))

describe("expressions of alert rules and the dashboard", () => {
  const expressions = [
    ...rules.map(({ alert, expr, text }) => ({ title: alert, expr, shown: text })),
    ...targets.map(({ expr, legendFormat, title }) => ({ title, expr, shown: legendFormat }))
  ]

  it("are there", () => {
    assert.isAtLeast(rules.length, 9)
    assert.isAtLeast(targets.length, 15)
  })

  it.each(expressions)("$title: $expr", ({ expr, shown }) => {
    const series = [...expr.matchAll(/\b(redsync_\w+)(?:\{([^}]*)\})?/g)]
    assert.isNotEmpty(series)
    for (const [, name = "", matchers = ""] of series) {
      const definition = definitionOf(name)
      assert.isDefined(definition, `there is no ${name}`)
      const labels = [...Object.keys(definition.attributes), ...ownLabels]
      for (const [, label = "", values = ""] of matchers.matchAll(/(\w+)(?:=|!=|=~|!~)"([^"]*)"/g)) {
        assert.include(labels, label)
        if (label !== "instance") assert.includeMembers([...valuesOf(definition, label)], values.split("|"))
      }
      for (const group of grouped(expr)) assert.includeMembers(labels, group)
      const kept = grouped(expr).length > 0 ? grouped(expr).flat() : labels
      const variables = [...shown.matchAll(/\{\{ ?\$labels\.(\w+)|\{\{(\w+)\}\}/g)].map(([, a, b]) => a ?? b!)
      assert.includeMembers(kept, variables)
    }
  })

  it("leave no metric out on the dashboard", () => {
    const shown = targets.flatMap(({ expr }) => expr.match(/redsync_\w+/g) ?? []).map((name) =>
      definitionOf(name)?.name
    )
    assert.sameMembers([...new Set(shown)], all.map(({ name }) => name))
  })

  it.effect("name series as they are exported", () =>
    Effect.gen(function*() {
      yield* withLock("a", Effect.void)
      const exported = new Set((yield* PrometheusMetrics.format()).match(/^redsync_\w+/gm))
      assert.includeMembers([...exported], [
        "redsync_acquisitions_total",
        "redsync_node_latency_seconds_bucket",
        "redsync_quorum_margin",
        "redsync_wait_seconds_bucket"
      ])
    }).pipe(Effect.provide(Redsync.layerMemory())))
})

describe("alert rules", () => {
  it("have names of their own, a severity and a summary", () => {
    assert.lengthOf(new Set(rules.map(({ alert }) => alert)), rules.length)
    for (const { text } of rules) {
      assert.match(text, /^ {10}severity: (critical|warning|info)$/m)
      assert.match(text, /^ {10}summary: ".+"$/m)
    }
  })
})

describe("the dashboard", () => {
  it("has panels that do not overlap, with ids of their own", () => {
    const cells = panels.flatMap(({ gridPos: { h, w, x, y } }) =>
      Array.from({ length: h * w }, (_, index) => `${x + index % w},${y + Math.floor(index / w)}`)
    )
    assert.lengthOf(new Set(cells), cells.length)
    assert.lengthOf(new Set(panels.map(({ id }) => id)), panels.length)
    for (const { gridPos: { w, x }, targets = [], type } of panels) {
      assert.isAtMost(x + w, 24)
      assert.strictEqual(targets.length > 0, type !== "row")
      assert.lengthOf(new Set(targets.map(({ refId }) => refId)), targets.length)
    }
  })
})

describe("the Compose file", () => {
  it("has three servers with volumes of their own, on the ports of its URLs", () => {
    const compose = read("compose.yaml")
    const services = [
      ...compose.matchAll(
        /^ {2}(locks-\d):\n {4}<<: \*server\n {4}ports: \["127\.0\.0\.1:(\d+):6379"\]\n {4}volumes: \["(locks-\d):\/data"\]$/gm
      )
    ]
    assert.deepStrictEqual(services.map(([, service]) => service), ["locks-1", "locks-2", "locks-3"])
    for (const [, service, , volume] of services) assert.strictEqual(service, volume)
    assert.include(compose, services.map(([, , port]) => `redis://127.0.0.1:${port}`).join(","))
    assert.match(compose, /^volumes:\n {2}locks-1:\n {2}locks-2:\n {2}locks-3:\n$/m)
    assert.match(compose, /^x-server: &server$/m)
  })
})
