/** One node of three is down: a lock is acquired, and nobody else acquires it. */
import { arrow, cross, labelled, line, lines, type Picture, server, text, tick, type Tint } from "./svg.ts"

interface Vote {
  readonly node: string
  readonly key: string
  readonly vote: "granted" | "refused" | "no answer"
}

const tintOf: Record<Vote["vote"], Tint> = { granted: "green", refused: "red", "no answer": "grey" }

const side = (
  left: number,
  heading: string,
  client: string,
  votes: ReadonlyArray<Vote>,
  end: ReadonlyArray<string>
) => [
  text(left, 62, heading, { class: "strong" }),
  labelled(left, 152, 64, 36, "blue", client, { class: "strong" }),
  ...votes.flatMap(({ key, node, vote }, index) => {
    const y = 82 + index * 66
    const tint = tintOf[vote]
    const down = vote === "no answer"
    return [
      arrow(left + 68, 170 + (index - 1) * 8, left + 176, y + 27, `line-${tint}${down ? " dashed" : ""}`),
      server(left + 182, y, node, down ? "grey" : "blue", down ? " dashed" : ""),
      down
        ? cross(left + 296, y + 27, "grey")
        : vote === "granted"
        ? tick(left + 295, y + 27)
        : cross(left + 296, y + 27),
      text(left + 312, y + 23, vote, { class: tint === "grey" ? "faint" : tint }),
      text(left + 312, y + 40, key, { class: "small faint" })
    ]
  }),
  lines(left, 304, end)
]

export const quorum: Picture = {
  title: "A quorum with a node down",
  description:
    "Left: service A asks nodes a, b and c at once. a and b grant the lock, c is down. Two of three are a quorum, so A holds " +
    "the lock without waiting for c. Right: c has restarted without its data when B asks. a and b refuse, c grants. One of three is no " +
    "quorum: B deletes its key on c and waits.",
  height: 340,
  elements: [
    text(24, 32, "One of three nodes is down: two are a quorum", { class: "title" }),
    ...side(24, "A asks all nodes at once", "A", [
      { node: "a", vote: "granted", key: "stores A" },
      { node: "b", vote: "granted", key: "stores A" },
      { node: "c", vote: "no answer", key: "down" }
    ], ["Two of three granted: A holds the lock,", "without waiting for c."]),
    line(426, 52, 426, 324),
    ...side(452, "Meanwhile B asks; c has restarted empty", "B", [
      { node: "a", vote: "refused", key: "stores A" },
      { node: "b", vote: "refused", key: "stores A" },
      { node: "c", vote: "granted", key: "stores B" }
    ], ["One of three granted: no quorum. B deletes", "its key on c, and waits."])
  ]
}
