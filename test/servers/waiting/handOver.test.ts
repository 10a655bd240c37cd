/**
 * What a node does when a lock is handed over, by hand: the same of a node in memory and
 * of a real server. The rules of those who take part are in
 * `test/internal/waiting/handOver.test.ts`.
 */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer, Option } from "effect"
import { type LockNode, MemoryNode } from "../../../src/index.ts"
import { companionKeys } from "../../../src/internal/redis/keys.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import type { HandOverTerms, LineEntry, Notice } from "../../../src/LockNode.ts"
import { until } from "../../support/faults.ts"
import { entryOf, waiterIdOf } from "../../support/line.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

class Subject extends Context.Service<Subject, LockNode>()("effect-redsync/test/handOver/Subject") {}

const overIoredis = Layer.effect(
  Subject,
  Effect.gen(function*() {
    const [server] = yield* RedisServers
    const node = yield* IoredisNode.make(server!.url)
    yield* node.ready!
    return node
  })
).pipe(Layer.provideMerge(RedisServers.layer(1)))

const terms: HandOverTerms = { expiryMillis: 30_000, proposal: 7, chain: { length: 3, millis: 250 } }

/** A counter, and a proposal: small ones, and the clock's microseconds. */
const tokens = [["small", 41, 1000], ["large", 1_795_740_475_114_919, 1_795_740_475_999_999]] as const

/** Somebody who waits, and all that it is told. */
const waiter = (node: LockNode, name: string, prefix = "") =>
  Effect.gen(function*() {
    const told: Array<Notice> = []
    const list = yield* node.waitingList!(waiterIdOf(name, prefix), (notice) => told.push(notice))
    const entry = entryOf(name)
    const untilTold = <Tag extends Notice["_tag"]>(tag: Tag) =>
      Effect.map(
        until(`${name} is told ${tag}`, Effect.sync(() => told.some(({ _tag }) => _tag === tag))),
        () => told.find((notice): notice is Notice & { readonly _tag: Tag } => notice._tag === tag)!
      )
    return { ...list, handOver: list.handOver!, entry, told, untilTold, value: entry.value }
  })

const valueAt = (node: LockNode, key: string) =>
  Effect.map(node.inspect(key), (state) => Option.getOrUndefined(state)?.value)

const rules = (name: string, subject: Layer.Layer<Subject>) =>
  layer(subject, { excludeTestServices: true, timeout: "60 seconds" })(`a node ${name}`, (it) => {
    const setUp = (key: string) =>
      Effect.gen(function*() {
        const node = yield* Subject
        const holder = yield* waiter(node, `holder of ${key}`)
        const [a, b, c] = [
          yield* waiter(node, `a ${key}`),
          yield* waiter(node, `b ${key}`),
          yield* waiter(node, `c ${key}`)
        ]
        assert.isTrue(yield* node.acquire(key, holder.value, 60_000))
        // Whoever is to hear has to listen, which the holder does since it has waited itself.
        yield* holder.handOver.listen(key)
        return { a, b, c, holder, node }
      })

    it.effect("tells the successor, at which time and for how long, and who is behind it", () =>
      Effect.gen(function*() {
        const { a, b, holder, node } = yield* setUp("told")
        const { time } = yield* a.join("told", a.entry, "back")
        yield* b.join("told", b.entry, "back")
        assert.strictEqual((yield* holder.untilTold("Successor")).successor?.value, a.value)
        const done = yield* holder.handOver.transfer("told", holder.value, a.entry, terms)
        assert.deepInclude(done, { released: true, woke: true, handedOver: true })
        assert.strictEqual(yield* valueAt(node, "told"), a.value)
        const notice = yield* a.untilTold("HandedOver")
        assert.deepInclude(notice, { value: a.value, ttlMillis: 30_000, chain: terms.chain, token: undefined })
        assert.strictEqual(notice.next?.value, b.value)
        assert.strictEqual(notice.time.clock, time!.clock)
        assert.isAtLeast(notice.time.millis, time!.millis - 1)
        const { ttlMillis } = Option.getOrThrow(yield* node.inspect("told"))
        assert.isAtMost(ttlMillis, 30_000)
        assert.isAbove(ttlMillis, 20_000)
        // What is in the list is not the successor any more.
        assert.strictEqual((yield* b.join("told", b.entry, "back")).ahead, 0)
        assert.isTrue((yield* a.join("told", a.entry, "back")).isOurs)
      }))

    it.effect("S2: changes a key only if it has exactly the leaver's value", () =>
      Effect.gen(function*() {
        const { a, holder, node } = yield* setUp("exact")
        yield* a.join("exact", a.entry, "back")
        const another = yield* holder.handOver.transfer("exact", "another", a.entry, terms)
        assert.deepInclude(another, { released: false, woke: false, handedOver: false })
        assert.strictEqual(yield* valueAt(node, "exact"), holder.value)
        assert.deepStrictEqual(a.told, [])
        // A free key is not set either; whoever is first is woken.
        yield* node.remove("exact")
        const free = yield* holder.handOver.transfer("exact", holder.value, a.entry, terms)
        assert.deepInclude(free, { released: false, woke: true, handedOver: false })
        assert.isUndefined(yield* valueAt(node, "exact"))
        yield* a.untilTold("WakeUp")
      }))

    it.effect("says that there is neither a key nor a line, and tells all who listen what was lost", () =>
      Effect.gen(function*() {
        const { a, b, holder, node } = yield* setUp("lost")
        yield* b.handOver.listen("lost")
        const prefixed = yield* waiter(node, "prefixed", "[*?")
        yield* prefixed.handOver.listen("lost")
        yield* a.join("lost", a.entry, "back")
        assert.isFalse((yield* holder.release("lost", "another", undefined)).isVacant)
        assert.isFalse((yield* holder.handOver.transfer("lost", "another", a.entry, terms)).isVacant)
        assert.isFalse((yield* holder.release("lost", holder.value, undefined)).isVacant)
        assert.isTrue((yield* holder.release("lost", holder.value, undefined)).isVacant)
        assert.isTrue((yield* holder.handOver.transfer("lost", holder.value, a.entry, terms)).isVacant)
        yield* holder.alert!("lost")
        for (const each of [a, b, holder]) assert.strictEqual((yield* each.untilTold("Lost")).key, "lost")
        assert.deepStrictEqual(prefixed.told, [])
        yield* prefixed.alert!("lost too")
        assert.strictEqual((yield* prefixed.untilTold("Lost")).key, "lost too")
        assert.deepStrictEqual(b.told, [{ _tag: "Lost", key: "lost" }])
      }))

    it.effect("S12: counts for a fenced successor as a grant would, however large the tokens", () =>
      Effect.gen(function*() {
        for (const [name, counted, proposal] of tokens) {
          const { a, b, holder, node } = yield* setUp(name)
          yield* node.fencing!.raise(name, holder.value, counted)
          const [first, second] = [a, b].map(({ entry }) => ({ ...entry, fenced: true })) as [LineEntry, LineEntry]
          yield* a.join(name, first, "back")
          yield* b.join(name, second, "back")
          yield* holder.handOver.transfer(name, holder.value, first, terms)
          assert.strictEqual((yield* a.untilTold("HandedOver")).token, counted + 1)
          yield* a.handOver.transfer(name, a.value, second, { ...terms, proposal })
          assert.strictEqual((yield* b.untilTold("HandedOver")).token, proposal)
          yield* node.release(name, b.value)
          assert.deepStrictEqual(yield* node.fencing!.acquire(name, "x", 1000, 1), Option.some(proposal + 1))
        }
      }))

    it.effect("L1: deletes the key if the successor does not receive it, and wakes the next", () =>
      Effect.gen(function*() {
        const { b, holder, node } = yield* setUp("gone")
        const gone = entryOf("nobody at all")
        yield* b.join("gone", gone, "back")
        yield* b.join("gone", b.entry, "back")
        const done = yield* holder.handOver.transfer("gone", holder.value, gone, terms)
        assert.deepInclude(done, { released: true, woke: true, handedOver: false })
        assert.isUndefined(yield* valueAt(node, "gone"))
        assert.strictEqual((yield* b.untilTold("WakeUp")).value, b.value)
      }))

    it.effect("L2: tells who becomes the first, by a transfer or by another's leaving", () =>
      Effect.gen(function*() {
        const { a, b, c, holder } = yield* setUp("first")
        for (const { entry, join } of [a, b, c]) yield* join("first", entry, "back")
        yield* a.leave("first", a.entry)
        assert.strictEqual((yield* b.untilTold("First")).ttlMillis, 0)
        yield* until(
          "the holder knows",
          Effect.sync(() => holder.told.some((told) => told._tag === "Successor" && told.successor?.value === b.value))
        )
        yield* holder.handOver.transfer("first", holder.value, b.entry, terms)
        assert.strictEqual((yield* c.untilTold("First")).ttlMillis, 30_000)
      }))

    it.effect("a place that is left after it was handed the lock gives the lock back", () =>
      Effect.gen(function*() {
        const { a, b, holder, node } = yield* setUp("back")
        for (const { entry, join } of [a, b]) yield* join("back", entry, "back")
        yield* holder.handOver.transfer("back", holder.value, a.entry, terms)
        yield* a.leave("back", a.entry)
        assert.isUndefined(yield* valueAt(node, "back"))
        yield* b.untilTold("WakeUp")
      }))
  })

rules("in memory", Layer.sync(Subject, () => MemoryNode.make()))
rules("over ioredis", overIoredis)

layer(overIoredis, { excludeTestServices: true, timeout: "60 seconds" })("a server", (it) => {
  it.effect("S6: that is too young to vote deletes the key instead", () =>
    Effect.gen(function*() {
      const young = (yield* Subject).delayedRestart!(3_600_000)
      const [holder, a] = [yield* waiter(young, "holder young"), yield* waiter(young, "a young")]
      const node = yield* Subject
      yield* node.acquire("young", holder.value, 60_000)
      yield* a.join("young", a.entry, "back")
      const done = yield* holder.handOver.transfer("young", holder.value, a.entry, terms)
      assert.deepInclude(done, { released: true, woke: true, handedOver: false })
      assert.isUndefined(yield* valueAt(node, "young"))
      yield* a.untilTold("WakeUp")
      assert.isFalse(a.told.some(({ _tag }) => _tag === "HandedOver"))
    }))

  it.effect("S10: whose replicas have to acknowledge hands nothing over", () =>
    Effect.gen(function*() {
      const list = yield* (yield* Subject).replicas!(1, 100).waitingList!(waiterIdOf("replicas"), () => {})
      assert.isUndefined(list.handOver)
    }))

  it.effect("that has no memory left hands over all the same: a key takes the place of another", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      const node = yield* Subject
      const [holder, a] = [yield* waiter(node, "holder oom"), yield* waiter(node, "a oom")]
      yield* node.acquire("oom", holder.value, 60_000)
      yield* a.handOver.listen("oom")
      // The script is there, or it would be refused as a whole.
      yield* holder.handOver.transfer("none", "none", a.entry, terms)
      yield* server!.command("CONFIG", "SET", "maxmemory", "1")
      yield* Effect.gen(function*() {
        assert.match((yield* Effect.flip(node.acquire("other", "x", 1000))).message, /OOM/)
        assert.isTrue((yield* holder.handOver.transfer("oom", holder.value, a.entry, terms)).handedOver)
        assert.strictEqual(yield* valueAt(node, "oom"), a.value)
        // To release takes no memory.
        assert.isTrue((yield* a.release("oom", a.value, undefined)).released)
      }).pipe(Effect.ensuring(server!.command("CONFIG", "SET", "maxmemory", "0")))
    }))

  it.effect("whose fencing counter cannot count deletes the key, and wakes the next in line", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      const node = yield* Subject
      const holder = yield* waiter(node, "holder garbled")
      const garbled = [["SET", "nonsense"], ["SET", String(Number.MAX_SAFE_INTEGER)], ["RPUSH", "a list"]] as const
      for (const [index, [command, counter]] of garbled.entries()) {
        const name = `garbled ${index}`
        const a = yield* waiter(node, name)
        const fenced = { ...a.entry, fenced: true }
        yield* node.acquire(name, holder.value, 60_000)
        yield* a.join(name, fenced, "back")
        yield* server!.command(command, companionKeys().of("fencing", name), counter)
        const done = yield* holder.handOver.transfer(name, holder.value, fenced, terms)
        assert.deepInclude(done, { released: true, woke: true, handedOver: false })
        assert.isUndefined(yield* valueAt(node, name))
        yield* a.untilTold("WakeUp")
      }
    }))

  it.effect("that has no memory left hands a fenced lock over all the same", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      const node = yield* Subject
      const [holder, a] = [yield* waiter(node, "holder fencedoom"), yield* waiter(node, "a fencedoom")]
      const fenced = { ...a.entry, fenced: true }
      yield* node.acquire("fencedoom", holder.value, 60_000)
      yield* a.handOver.listen("fencedoom")
      yield* holder.handOver.transfer("none", "none", fenced, terms)
      yield* server!.command("CONFIG", "SET", "maxmemory", "1")
      yield* Effect.gen(function*() {
        assert.isTrue((yield* holder.handOver.transfer("fencedoom", holder.value, fenced, terms)).handedOver)
        assert.strictEqual((yield* a.untilTold("HandedOver")).token, terms.proposal)
        assert.strictEqual(yield* valueAt(node, "fencedoom"), a.value)
      }).pipe(Effect.ensuring(server!.command("CONFIG", "SET", "maxmemory", "0")))
    }))

  it.effect("a user of another prefix can neither hear nor forge a turn, or a hand-over", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      const user = (name: string, prefix: string) =>
        Effect.gen(function*() {
          yield* server!.command("ACL", "DELUSER", name)
          const rights = ["on", ">pw", "~*", "+@all", "resetchannels", `&redsync:turn:${prefix}*`]
          yield* server!.command("ACL", "SETUSER", name, ...rights)
          return yield* IoredisNode.make(`redis://${name}:pw@${server!.host}:${server!.port}`)
        })
      const [ours, theirs] = [yield* user("ours", "a:"), yield* user("theirs", "b:")]
      const holder = yield* waiter(ours, "holder prefix", "a:")
      const a = yield* waiter(ours, "a prefix", "a:")
      yield* ours.acquire("a:x", holder.value, 60_000)
      yield* a.join("a:x", a.entry, "back")
      // To hear what we are told takes our channel.
      const spy = yield* waiter(theirs, "a prefix", "a:")
      assert.match((yield* Effect.flip(spy.handOver.listen("b:x"))).message, /NOPERM/)
      // Whoever may write the key as well, but not to our channels, tells us nothing: the successor does not receive it.
      const forger = yield* waiter(theirs, "forger", "a:")
      const done = yield* forger.handOver.transfer("a:x", holder.value, a.entry, terms)
      assert.isFalse(done.handedOver)
      assert.isFalse(a.told.some(({ _tag }) => _tag === "HandedOver" || _tag === "WakeUp"))
    }))
})
