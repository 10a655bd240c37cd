/**
 * Names that differ never share a key beside them, and no name is such a key itself.
 */
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { healthKey, isReserved } from "../../../src/internal/nodeContract.ts"
import { canHaveCompanion, companionKey, type Kind } from "../../../src/internal/redis/keys.ts"

/** What Redis Cluster takes the slot of a key from, as its specification says. */
const hashed = (key: string): string => {
  const start = key.indexOf("{")
  const end = start === -1 ? -1 : key.indexOf("}", start + 1)
  return end > start + 1 ? key.slice(start + 1, end) : key
}

/** Short and full of all that means something in a key, so that names meet often. */
const name = fc.oneof(
  fc.array(fc.constantFrom("{", "}", "=", ":", "a", "b", "redsync:1:line:", "{a}"), { minLength: 1, maxLength: 6 })
    .map((parts) => parts.join("")),
  fc.string({ unit: "binary", minLength: 1 })
).filter((name) => !isReserved(name))

const prefix = fc.array(fc.constantFrom("{", "}", "a", "app:", "{app}:"), { maxLength: 3 })
  .map((parts) => parts.join(""))

const kind = fc.constantFrom<Kind>("fencing", "line")

describe("keys beside a lock", () => {
  it("are as documented, for plain names and for names with a hash tag", () => {
    assert.strictEqual(companionKey("line", "a"), "redsync:1:line:{a}")
    assert.strictEqual(companionKey("fencing", "{a}"), "redsync:1:fencing:={a}")
    assert.strictEqual(companionKey("fencing", "locks:{user}:b"), "redsync:1:fencing:=locks:{user}:b")
    assert.strictEqual(companionKey("line", "a", "app:"), "redsync:1:line:{app:a}")
  })

  it("differ wherever the name or the kind does", () => {
    fc.assert(
      fc.property(kind, kind, name, name, prefix, (kind1, kind2, name1, name2, prefix) => {
        const isSame = kind1 === kind2 && name1 === name2
        assert.strictEqual(companionKey(kind1, name1, prefix) === companionKey(kind2, name2, prefix), isSame)
      }),
      { numRuns: 2000 }
    )
  })

  it("are refused as names, and so is the key that health looks for", () => {
    fc.assert(fc.property(kind, name, (kind, name) => isReserved(companionKey(kind, name))))
    assert.isTrue(isReserved(healthKey))
    assert.isTrue(isReserved("redsync:27:anything"))
    for (const name of ["redsync:", "redsync:x:1", "redsync:turn:a", " redsync:1:line:{a}", "Redsync:1:"]) {
      assert.isFalse(isReserved(name), name)
    }
  })

  it("are in the lock's slot wherever that is said, and it is said of every name with a hash tag or without braces", () => {
    fc.assert(
      fc.property(kind, name, prefix, (kind, name, prefix) => {
        const isShared = hashed(prefix + companionKey(kind, name, prefix)) === hashed(prefix + name)
        assert.strictEqual(canHaveCompanion(name, prefix), isShared)
      }),
      { numRuns: 5000 }
    )
    assert.isTrue(["a", "{a", "{a}", "a{b}c", "{a}{b}"].every((name) => canHaveCompanion(name)))
    assert.isFalse(["a}", "{}a", "a{}{b}"].some((name) => canHaveCompanion(name)))
  })
})
