/** A lock passes from one service to the next: handed over, and released. */
import { arrow, box, labelled, line, lines, type Picture, text } from "./svg.ts"

interface Message {
  readonly y: number
  readonly from: number
  readonly to: number
  readonly says: string
}

const heads = { a: 46, nodes: 184, b: 322 }

const message = (left: number, { from, says, to, y }: Message) => {
  // Up to the bars, of which that of the nodes is the widest.
  const [start, end] = [from, to].map((x) => x === heads.nodes ? 13 : 9) as [number, number]
  const right = from < to ? 1 : -1
  return arrow(left + from + right * start, y, left + to - right * end, y) +
    text(left + (from + to) / 2, y - 7, says, { anchor: "middle", class: "small" })
}

/** Whose key the nodes have, from one moment to another. */
type Key = readonly [from: number, to: number, whose: "A" | "B" | ""]

const bottom = 326

const side = (
  left: number,
  heading: string,
  messages: ReadonlyArray<Message>,
  keys: ReadonlyArray<Key>,
  startOfB: number,
  end: ReadonlyArray<string>
) => [
  text(left, 62, heading, { class: "strong" }),
  ...([["A", heads.a], ["nodes", heads.nodes], ["B", heads.b]] as const).flatMap(([label, x]) => [
    labelled(left + x - 36, 78, 72, 28, "grey", label, { class: "strong" }),
    line(left + x, 106, left + x, bottom)
  ]),
  labelled(left + heads.a - 8, 112, 16, keys[0]![1] - 112, "green", ""),
  ...keys.map(([from, to, whose]) =>
    whose === ""
      ? box(left + heads.nodes - 12, from + 4, 24, to - from - 8, "amber", " dashed")
      : labelled(left + heads.nodes - 12, from, 24, to - from, whose === "A" ? "green" : "blue", whose, {
        class: "strong"
      })
  ),
  box(left + heads.b - 8, 130, 16, startOfB - 134, "grey", " dashed"),
  labelled(left + heads.b - 8, startOfB, 16, bottom - startOfB, "blue", ""),
  ...messages.map((each) => message(left, each)),
  lines(left, 356, end)
]

export const handOver: Picture = {
  title: "How a lock passes to the next service",
  description:
    "Left, handed over: B joins the line on a node, A is told that B is first; when A's program ends it sets the key to B's " +
    "value on all nodes, and their notifications are the grant: B has the lock half a round trip later. Right, released: A " +
    "deletes the key, a node wakes B, B asks for the lock and is granted it; the lock is free for at least a round trip.",
  height: 396,
  elements: [
    text(24, 32, "How a lock passes from A to B, which waits in line", { class: "title" }),
    ...side(
      24,
      "Handed over",
      [
        { y: 136, from: heads.b, to: heads.nodes, says: "join the line" },
        { y: 172, from: heads.nodes, to: heads.a, says: "B is first" },
        { y: 220, from: heads.a, to: heads.nodes, says: "set it to B's" },
        { y: 244, from: heads.nodes, to: heads.b, says: "it is yours" }
      ],
      [[112, 220, "A"], [220, bottom, "B"]],
      244,
      ["The lock is never free, so nobody can overtake B. B sends", "nothing: a quorum of notifications is the grant."]
    ),
    line(426, 52, 426, 376),
    ...side(
      452,
      "Released, where a hand-over is impossible",
      [
        { y: 136, from: heads.b, to: heads.nodes, says: "join the line" },
        { y: 176, from: heads.a, to: heads.nodes, says: "delete the key" },
        { y: 200, from: heads.nodes, to: heads.b, says: "wake up" },
        { y: 236, from: heads.b, to: heads.nodes, says: "SET NX PX" },
        { y: 272, from: heads.nodes, to: heads.b, says: "granted" }
      ],
      [[112, 176, "A"], [176, 236, ""], [236, bottom, "B"]],
      272,
      ["The lock is free for at least a round trip, and another", "client may acquire it. B then stays first in line."]
    ),
    text(452 + heads.nodes - 18, 210, "free", { anchor: "end", class: "amber" })
  ]
}
