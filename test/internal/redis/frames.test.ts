/**
 * What a server sends is looked at before a client sees it, in whatever pieces it
 * arrives.
 */
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { type Frame, Frames } from "../../../src/internal/redis/frames.ts"

interface Value {
  readonly raw: string
  readonly isText: boolean
  readonly text: string
  readonly items?: ReadonlyArray<Value>
}

const line = fc.string({ unit: "grapheme-ascii", maxLength: 40 }).map((text) => text.replace(/[\r\n]/g, " "))
const body = fc.string({ unit: fc.constantFrom("\r", "\n", ":", "1", "*", ">", "$", "-", "a"), maxLength: 60 })

const { any } = fc.letrec<{ any: Value; simple: Value; many: Value }>((tie) => ({
  any: fc.oneof({ withCrossShrink: true, maxDepth: 4 }, tie("simple"), tie("many")),
  simple: fc.oneof(
    line.map((text) => ({ raw: `+${text}\r\n`, isText: true, text })),
    body.map((text) => ({ raw: `$${text.length}\r\n${text}\r\n`, isText: true, text })),
    line.map((text) => ({ raw: `-${text}\r\n`, isText: false, text: "" })),
    fc.integer().map((number) => ({ raw: `:${number}\r\n`, isText: false, text: "" })),
    fc.constantFrom("$-1\r\n", "*-1\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "*0\r\n", "(12345678901234567890\r\n")
      .map((raw) => ({ raw, isText: false, text: "" }))
  ),
  many: fc.tuple(fc.constantFrom("*", "~", ">"), fc.array(tie("any"), { maxLength: 4 })).map(([type, items]) => ({
    raw: `${type}${items.length}\r\n${items.map(({ raw }) => raw).join("")}`,
    isText: false,
    text: "",
    items
  }))
}))

const read = (pieces: ReadonlyArray<string>) => {
  const seen: Array<Frame> = []
  const frames = new Frames()
  const isAccepted = pieces.every((piece) =>
    frames.read(Buffer.from(piece, "latin1"), (frame) => seen.push(frame) > 0) === piece.length
  )
  return { isAccepted, seen }
}

const cut = (text: string, lengths: ReadonlyArray<number>): Array<string> => {
  const pieces: Array<string> = []
  let at = 0
  for (const length of lengths) {
    pieces.push(text.slice(at, at + length))
    at += length
  }
  return [...pieces, text.slice(at)].filter((piece) => piece.length > 0)
}

describe("frames", () => {
  it.each([
    "_x\r\n",
    "_:1\r\n",
    "#true\r\n",
    "#\r\n",
    ",nanny\r\n",
    ",\r\n",
    ":one\r\n",
    ":\r\n",
    "(\r\n",
    "=2\r\nOK\r\n",
    "~-1\r\n",
    "!-1\r\n"
  ])(
    "%j is none: a parser that takes it for one would read on elsewhere",
    (raw) => {
      assert.deepStrictEqual(read([raw]), { isAccepted: false, seen: [] })
      assert.isFalse(read([`*1\r\n${raw}`]).isAccepted)
    }
  )

  it("a line that is not complete waits to be judged", () => {
    const frames = new Frames()
    assert.strictEqual(frames.read(Buffer.from("+OK\r\n_\r"), () => true), 7)
    assert.strictEqual(frames.waiting, 2)
    assert.strictEqual(frames.read(Buffer.from("\n"), () => true), 1)
    assert.strictEqual(frames.waiting, 0)
  })

  it("are told apart, in whatever pieces they arrive", () => {
    const pieces = fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 40 })
    fc.assert(
      fc.property(fc.array(any, { minLength: 1, maxLength: 6 }), pieces, (values, lengths) => {
        const { isAccepted, seen } = read(cut(values.map(({ raw }) => raw).join(""), lengths))
        assert.isTrue(isAccepted)
        assert.deepStrictEqual(seen.map(({ type }) => type), values.map(({ raw }) => raw[0]))
        values.forEach((value, index) => {
          const { items = [] } = value
          const texts = items.findIndex(({ isText }) => !isText)
          assert.strictEqual(seen[index]!.texts, Math.min(2, texts === -1 ? items.length : texts))
          const [first] = items
          if (first?.isText && first.text.length <= 32) assert.strictEqual(seen[index]!.first, first.text)
        })
      }),
      { numRuns: 500 }
    )
  })

  it("that are none are refused", () => {
    const wrong = [
      "?1\r\n",
      "HTTP/1.1 400 Bad Request\r\n",
      "\r\n",
      "$abc\r\n",
      "$-2\r\n",
      "$\r\n",
      "*1.5\r\n",
      "*99999999999\r\n",
      "+a\rb\r\n",
      "*1\r\n".repeat(100)
    ]
    for (const raw of wrong) assert.isFalse(read([raw]).isAccepted, JSON.stringify(raw))
  })

  it("are good up to the one that is refused", () => {
    const frames = new Frames()
    const upTo = (text: string) => frames.read(Buffer.from(text), ({ type }) => type !== ">")
    assert.strictEqual(upTo("+OK\r\n:1"), 7)
    assert.strictEqual(upTo("\r\n$2\r\nok\r\n>0\r\n+OK\r\n"), 10)
    assert.strictEqual(new Frames().read(Buffer.from("+OK\r\n!!\r\n"), () => true), 5)
  })

  it("never take more than any reply of ours would", () => {
    const piece = "x".repeat(1024 * 1024)
    for (const start of ["+", "$999999999\r\n", "*9\r\n$10000000\r\n"]) {
      assert.isFalse(read([start, ...Array.from({ length: 6 }, () => piece)]).isAccepted, start)
    }
  })
})
