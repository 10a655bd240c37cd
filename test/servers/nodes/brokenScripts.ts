/**
 * The suite put to the test: scripts that are broken on purpose, and what random operations on a
 * real server find. `node test/servers/nodes/brokenScripts.ts redis://…` prints a line of JSON for each.
 */
import { Effect } from "effect"
import { Redis } from "ioredis"
import { fileURLToPath } from "node:url"
import type * as IoredisNode from "../../../src/IoredisNode.ts"
import { type Edit, loadMutated } from "../../support/mutated.ts"
import type * as Random from "../../support/randomOperations.ts"

interface Broken {
  readonly name: string
  readonly of: "permits" | "readers"
  readonly edits: ReadonlyArray<Edit>
}

const permits = (name: string, piece: string, instead: string): Broken => ({
  name,
  of: "permits",
  edits: [{ file: "src/internal/redis/permitScripts.ts", piece, instead }]
})

const readers = (name: string, piece: string, instead: string): Broken => ({
  name,
  of: "readers",
  edits: [{ file: "src/internal/redis/sharedScripts.ts", piece, instead }]
})

export const broken: ReadonlyArray<Broken> = [
  permits("what has expired is not saved at once", "if #gone > 0 then save(gone) end", ""),
  permits("no purge", "if taken > 0 and soonest <= now then", "if false then"),
  permits(
    "a shorter lease leaves the soonest expiry as it is",
    "if soonest == 0 or expiry < soonest then soonest = expiry end",
    "if soonest == 0 then soonest = expiry end"
  ),
  permits(
    "slots are taken without looking who has them",
    "elseif mayTake and isFree(slot) then",
    "elseif mayTake then"
  ),
  permits(
    "slots that an extension takes back are votes",
    `return table.concat(kept, ",")`,
    `return table.concat(slots, ",")`
  ),
  permits("a release leaves the holder", "  mark(freed, -1)\n  save({own})", "  mark(freed, -1)"),
  readers("the key lives as long as the reader that came last", "    expiry = last()\n", ""),
  readers(
    "the release of a reader deletes the key",
    `local expiry = last()\nif expiry then`,
    `local expiry = last()\nredis.call("DEL", KEYS[1])\nif expiry then`
  ),
  readers("a reader comes in beside a writer", "if (held ~= false and held ~= marker) or\n", "if\n"),
  readers(
    "readers of an earlier key come back",
    `    redis.call("DEL", readers)\n    redis.call("ZADD"`,
    `    redis.call("ZADD"`
  ),
  readers(
    "a reader that is made one again is a vote",
    "return extended and 1 or 0",
    "return isLive(ARGV[1]) and 1 or 0"
  ),
  readers(
    "a lock is left to readers without comparing",
    "const yieldToReaders = `${read}if held ~= ARGV[1] then return 0 end",
    "const yieldToReaders = `${read}"
  )
]

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const client = new Redis(process.argv[2]!)
  const whole = (["permits", "readers"] as const).map((of): Broken => ({ name: "nothing", of, edits: [] }))
  for (const { edits, name, of } of [...whole, ...broken]) {
    await client.flushall()
    const [ioredis, random] = await loadMutated(edits, [
      new URL("../../../src/IoredisNode.ts", import.meta.url),
      new URL("../../support/randomOperations.ts", import.meta.url)
    ]) as [typeof IoredisNode, typeof Random]
    const node = ioredis.fromClient(client)
    const read = (key: string) => Effect.promise(async () => Object.entries(await client.hgetall(key)).flat())
    const fault = of === "permits"
      ? random.faultOfPermits(node.permits!, read)
      : random.faultOfReaders(node, Effect.sleep)
    const found = await Effect.runPromise(Effect.match(fault, {
      onSuccess: (found) => found,
      onFailure: ({ message }) => message
    }))
    console.log(JSON.stringify({ name, found }))
  }
  client.disconnect()
}
