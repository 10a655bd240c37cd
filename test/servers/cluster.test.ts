/**
 * The cluster of the examples, on real servers and with runners in processes of their
 * own: whatever happens to a runner, its entities live on another one. No two write for
 * one entity with one token, and a former owner's last write at most is rejected.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { cuttable } from "../support/cuttable.ts"
import { until, urls } from "../support/faults.ts"
import { reservePort } from "../support/servers/Instance.ts"
import { RedisServers, startServer } from "../support/servers/RedisServers.ts"
import { child, type Three } from "../support/trouble.ts"

const entities = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]

const expiry = 2000

/** Runners, and a resource to which their entities write. */
const clusterOf = Effect.fnUntraced(function*(servers: Three) {
  const resource = yield* startServer()
  const run = Effect.fnUntraced(function*(id: string, nodes: ReadonlyArray<string> = urls(servers)) {
    const { port } = yield* Effect.acquireRelease(Effect.promise(reservePort), ({ release }) => Effect.sync(release))
    return yield* child("runner", { id, port, nodes, resource: resource.url, entities, expiry })
  })
  /** The runner that was the last to write for each entity. */
  const owners = Effect.map(
    resource.command<Array<string>>("HGETALL", "owners"),
    (pairs) => pairs.filter((_, index) => index % 2 === 1)
  )
  /** All entities write anew, and on these runners alone. */
  const untilOn = (...ids: ReadonlyArray<string>) =>
    Effect.andThen(
      resource.command("DEL", "owners"),
      until(
        `entities live on ${ids.join(" and ")}`,
        Effect.map(owners, (all) =>
          all.length === entities.length && ids.every((id) => all.includes(id)) &&
          all.every((id) => ids.includes(id)))
      )
    )
  const list = (name: string) =>
    Effect.map(
      resource.command<Array<string>>("LRANGE", name, "0", "-1"),
      (lines) => lines.map((line) => line.split("/") as [entity: string, token: string, runner: string])
    )
  return { run, untilOn, writes: list("writes"), rejected: list("rejected") }
})

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("runners of a cluster", (it) => {
  it.effect("are followed when they are killed, stopped, cut off or closed, and no two write with one token", () =>
    Effect.gen(function*() {
      const [a, b, c] = yield* RedisServers
      const servers = [a!, b!, c!] as const
      const { rejected, run, untilOn, writes } = yield* clusterOf(servers)
      const network = yield* cuttable(servers)

      const [killed, stopped, closed] = yield* Effect.all([run("killed"), run("stopped"), run("closed")])
      yield* untilOn("killed", "stopped", "closed")
      yield* closed.tell("close")
      yield* closed.exited
      yield* untilOn("killed", "stopped")

      yield* killed.signal("SIGKILL")
      const cutOff = yield* run("cut off", network.urls)
      yield* untilOn("stopped", "cut off")
      yield* stopped.signal("SIGSTOP")
      yield* untilOn("cut off")
      yield* stopped.signal("SIGCONT")
      yield* untilOn("stopped", "cut off")

      yield* network.off
      yield* untilOn("stopped")
      yield* cutOff.signal("SIGKILL")

      const owners = new Map<string, string>()
      for (const [entity, token, runner] of yield* writes) {
        const key = `${entity} with token ${token}`
        assert.strictEqual(owners.get(key) ?? runner, runner, `two have written for ${key}`)
        owners.set(key, runner)
      }
      assert.isAtLeast(owners.size, 2 * entities.length)
      // A former owner does not notice in time what has stopped its process, but then does nothing more.
      const late = (yield* rejected).map((line) => line.join(" "))
      assert.deepStrictEqual(late, [...new Set(late)])
    }).pipe(Effect.scoped))
})
