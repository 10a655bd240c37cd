/**
 * The simulator put to the test: wrong algorithms, and after how many histories
 * each is found out.
 *
 * A mutation is an exact piece of source and what stands in its place while the
 * module is loaded. Nothing in `src/` knows of it. A piece that is not there, or
 * there more than once, is an error. `node test/simulation/mutations.ts` tries
 * them all and prints a line of JSON for each; names as arguments choose some.
 * With `--quick` each is first tried on the history that found it last.
 */
import { loadMutated } from "../support/mutated.ts"
import type * as History from "./history.ts"
import type * as Plan from "./plan/plan.ts"
import { edit, main, type Mutation } from "./verdicts.ts"

export const mutations: ReadonlyArray<Mutation> = [
  // 1: exclusion
  {
    name: "a quorum of half the nodes",
    edits: [edit("src/internal/claim/settings.ts", "Math.floor(nodes / 2) + 1", "Math.ceil(nodes / 2)")],
    within: 500,
    seed: 3
  },
  {
    name: "drift ignored",
    edits: [edit("src/internal/lease/lease.ts", "expiryMillis - (expiryMillis * driftFactor + 2)", "expiryMillis")],
    within: 1000,
    seed: 6
  },
  {
    name: "the wall clock ignored",
    edits: [edit("src/internal/lease/lease.ts", ", clock.currentTimeMillisUnsafe() - end.wall", "")],
    within: 500,
    seed: 281
  },
  {
    name: "the same value for all attempts",
    edits: [edit(
      "src/internal/service/service.ts",
      "this.key(name), this.values.next()",
      "this.key(name), (this as unknown as { only?: string }).only ??= this.values.next()"
    )],
    within: 500,
    seed: 2
  },
  {
    // What the node's script does is done here by the server.
    name: "extension counts nodes that were planted again",
    edits: [edit(
      "test/simulation/world/server.ts",
      "this.#observer.onPlanted()",
      "this.#observer.onPlanted()\n      return true"
    )],
    within: 500,
    seed: 6
  },
  {
    name: "validity counted from the reply",
    edits: [edit(
      "src/internal/acquire/attempt.ts",
      "new HeldLock(claim.settings.isShared ? service.sharedHolds : service, claim, start)",
      "new HeldLock(service, claim, instantNow(service.clock))"
    )],
    within: 500,
    seed: 1
  },
  {
    name: "extended validity counted from the reply",
    edits: [edit(
      "src/internal/hold/heldLock.ts",
      "const until = leaseEndFrom(start, this.settings.validityMillis)",
      "const until = leaseEndFrom(instantNow(this.#context.clock), this.settings.validityMillis)"
    )],
    within: 500,
    seed: 2
  },
  {
    name: "servers that vote as soon as they are back",
    edits: [
      edit(
        "src/internal/service/serviceOptions.ts",
        "node) => minUptimeMillis > 0 ?",
        "node) => minUptimeMillis < 0 ?"
      )
    ],
    within: 1000,
    seed: 112
  },
  {
    name: "a yes before the replica has it",
    edits: [edit("src/internal/service/serviceOptions.ts", "node) => replicas > 0 ?", "node) => replicas < 0 ?")],
    within: 2000,
    seed: 264
  },
  {
    name: "adoption without a value of its own",
    edits: [edit(
      "src/internal/acquire/adopt.ts",
      "const claim = service.claim(name, settings)",
      "const claim = service.claim(name, settings)\n    Object.assign(claim, { value })"
    )],
    within: 2000,
    seed: 12
  },
  // 2: no ghosts
  {
    name: "no clean-up after a timeout",
    edits: [edit("src/internal/acquire/attempt.ts", "Result.isFailure(answer) || answer.success", "answer.success")],
    within: 500,
    seed: 7
  },
  {
    name: "a straggler's late SET unreleased",
    edits: [edit(
      "src/internal/acquire/attempt.ts",
      "answer === undefined || Result.isFailure(answer) || answer.success",
      "(answer !== undefined && (Result.isFailure(answer) || answer.success))"
    )],
    within: 500,
    seed: 6
  },
  {
    name: "no clean-up after an interruption",
    edits: [
      edit("src/internal/acquire/attempt.ts", "for (const claim of claims) cleanUps.over(claim, nodes)", "")
    ],
    within: 500,
    seed: 62
  },
  {
    name: "a late extension after the release",
    edits: [edit(
      "src/internal/hold/heldLock.ts",
      "waitQueues.lockEnded(this, release.woke)",
      "waitQueues.lockEnded(this, release.woke)\n      quorum.send(new RenewalRequest(this, () => {}), () => {})"
    )],
    within: 500,
    seed: 1
  },
  {
    name: "an extension by hand that does not look",
    edits: [edit(
      "src/internal/hold/heldLock.ts",
      "if (lost !== undefined) return resume(Effect.fail(lost))",
      ""
    )],
    within: 2000,
    seed: 32
  },
  {
    name: "a loss that leaves its keys",
    edits: [edit("src/internal/hold/heldLock.ts", "      cleanUps.over(this.#claim, nodes)\n", "")],
    within: 2000,
    seed: 379
  },
  {
    name: "what an extension planted after the loss is left",
    edits: [edit("src/internal/hold/heldLock.ts", "cleanUps.over(this.#claim, notConfirmed)", "")],
    within: 5000,
    seed: 2626
  },
  {
    name: "clean-ups that are tried once",
    edits: [edit(
      "src/internal/claim/cleanUps.ts",
      "if (!isExpired && !(hasReplied && this.#isClosing)) this.#enqueue(queue, retry)",
      ""
    )],
    within: 500,
    seed: 13
  },
  {
    name: "a release that has failed is not tried again",
    edits: [edit("src/internal/hold/release.ts", "this.#service.cleanUps.released(this.#lock, tally)", "")],
    within: 500,
    seed: 38
  },
  {
    name: "clean-ups given up before the server has answered",
    edits: [
      edit("src/internal/claim/cleanUps.ts", "if (hasReplied) retry.firstReplyAt ??= now", "retry.firstReplyAt ??= now")
    ],
    within: 5000,
    seed: 314
  },
  {
    name: "clean-ups that forget what may overtake them",
    edits: [edit("src/internal/claim/cleanUps.ts", " && !mayOvertake(node, now - claimed.madeAt)", "")],
    within: 5000,
    seed: 379
  },
  {
    name: "closing drops the clean-ups",
    edits: [edit("src/internal/service/service.ts", "    this.cleanUps.close()\n", "")],
    within: 2000,
    seed: 1516
  },
  {
    name: "an abandoned lock is extended",
    edits: [edit(
      "src/internal/hold/heldLock.ts",
      "          this.#recordEnd(state)\n",
      "          if (state === \"detached\") this.#recordEnd(state)\n"
    )],
    within: 2000,
    seed: 7
  },
  {
    name: "a lock that is deleted by its own service is still held",
    edits: [edit(
      "src/internal/admin/unlock.ts",
      "for (const held of queues.holders(key)) held.markLost(\"Taken\", [])",
      ""
    )],
    within: 2000,
    seed: 102
  },
  // 3: only the value's owner
  {
    name: "clean-ups that delete whatever is there",
    edits: [edit(
      "src/internal/claim/cleanUps.ts",
      "releaseOn(node, this.#claimed)",
      "node.remove(this.#claimed.key)"
    )],
    within: 500,
    seed: 1
  },
  {
    name: "a detached lock is released with its scope",
    edits: [edit(
      "src/internal/hold/heldLock.ts",
      "if (this.#state === \"detached\" || this.#state === \"abandoned\") {",
      "if (this.#state === \"abandoned\") {"
    )],
    within: 500,
    seed: 20
  },
  // 4: the program stops in time
  {
    name: "a loss that interrupts nobody",
    edits: [edit("src/internal/lease/guard.ts", "hold.onLost(() => fiber.interruptUnsafe())", "hold.onLost(() => {})")],
    within: 500,
    seed: 6
  },
  {
    name: "success after the lease has ended",
    edits: [edit("src/internal/lease/guard.ts", "lost === undefined ? exit : resultAfterLoss(exit, lost)", "exit")],
    within: 500,
    seed: 4
  },
  // 5: a minority is invisible, work is bounded
  {
    name: "votes that wait for stragglers",
    edits: [edit(
      "src/internal/quorum/round.ts",
      "(this.#request.awaitAll !== true && this.#isDecided())",
      "(this.#request.awaitAll !== true && pending < 0)"
    )],
    within: 500,
    seed: 18
  },
  {
    name: "a silent node is asked all the same",
    edits: [edit("src/internal/quorum/nodeHealth.ts", "if (record.probe === undefined) {", "{")],
    within: 1000,
    seed: 290
  },
  {
    name: "a dead connection is kept",
    edits: [edit("src/internal/quorum/nodeHealth.ts", "this.#isClosed || node.reconnect === undefined", "true")],
    within: 2000,
    seed: 38
  },
  // 6: nothing leaks
  {
    name: "timers that outlive the service",
    edits: [
      edit(
        "src/internal/quorum/quorum.ts",
        "this.#idle.await, Effect.sync(() => this.timers.close())",
        "this.#idle.await, Effect.void"
      )
    ],
    within: 500,
    seed: 1
  },
  {
    name: "closing waits for nothing",
    edits: [edit("src/internal/quorum/quorum.ts", "Effect.ensuring(this.#idle.await,", "Effect.ensuring(Effect.void,")],
    within: 500,
    seed: 1
  },
  // 7: tokens increase
  {
    name: "a token without the second round",
    edits: [
      edit("src/internal/acquire/attempt.ts", "allocation.chooseToken(tally)", "(allocation.chooseToken(tally), true)")
    ],
    within: 500,
    seed: 124
  },
  {
    name: "several tokens without the second round",
    edits: [edit(
      "src/internal/acquire/attempt.ts",
      "(tally, index) => settleToken(service, claims[index]!, claims[index]!.tokenAllocation!, tally)",
      "(tally, index) => (claims[index]!.tokenAllocation!.chooseToken(tally), Effect.succeed(tally))"
    )],
    within: 6000,
    seed: 4082
  },
  // 8: nothing that comes in breaks it
  {
    name: "a node that throws ends its caller",
    edits: [edit(
      "src/internal/quorum/round.ts",
      "this.#onAnswer(index, node, Result.fail(this.#defect(node, error)))",
      "throw error"
    )],
    within: 500,
    seed: 3
  },
  // 9: who waits gets its turn
  {
    name: "last come, first served",
    edits: [edit(
      "src/internal/waiting/waitQueue.ts",
      "for (const waiter of this.waiters) return waiter\n    return undefined",
      "return [...this.waiters].at(-1)"
    )],
    within: 500,
    seed: 8
  },
  // 10: what is passed on within a process is passed on as if it had been released and taken
  {
    name: "a value that was read is passed on",
    edits: [edit("src/internal/hold/heldLock.ts", "return this.#knownValue === undefined && ", "return ")],
    within: 2000,
    seed: 39
  },
  {
    name: "a lock that was passed on is still held",
    edits: [edit(
      "src/internal/hold/heldLock.ts",
      "this.#recordEnd(\"passed on\")",
      "this.#metrics.holdEnded(0, 0)"
    )],
    within: 2000,
    seed: 7
  },
  {
    name: "a lock is passed on for as long as anybody waits",
    edits: [edit("src/internal/waiting/waitQueue.ts", "return isInTime && isFair ? head : undefined", "return head")],
    within: 2000,
    seed: 292
  },
  {
    name: "a lock is passed on that is nearly over",
    edits: [edit("src/internal/hold/heldLock.ts", "this.remainingMillis() > expiryMillis / 2", "true")],
    within: 4000,
    seed: 2299
  },
  {
    name: "the lease of a lock that was passed on counts from the answer",
    edits: [edit(
      "src/internal/hold/heldLock.ts",
      "new HeldLock(this.#context, to, start, undefined, this)",
      "new HeldLock(this.#context, to, instantNow(clock), undefined, this)"
    )],
    within: 500,
    seed: 7
  },
  {
    name: "the value before is left where it was not replaced",
    edits: [edit("src/internal/hold/passing.ts", "this.#cleanUps.released(this.#from, tally)", "")],
    within: 2000,
    seed: 186
  },
  {
    name: "a value that too few nodes have replaced is left",
    edits: [edit(
      "src/internal/hold/passing.ts",
      "quorum.send(release, () => onGivenUp(release.woke))",
      "onGivenUp(release.woke)"
    )],
    within: 2000,
    seed: 503
  }
]

// The simulator, and the library under it, are loaded as modules of their own that the edits were made to.
await main(import.meta.url, mutations, async ({ edits }) => {
  const [{ makePlan }, { run }] = await loadMutated(edits, [
    new URL("plan/plan.ts", import.meta.url),
    new URL("history.ts", import.meta.url)
  ]) as [typeof Plan, typeof History]
  return (seed) => run(makePlan(seed)).violations[0]?.promise
})
