/** A holder that was frozen writes after another has held the lock: its token gives it away. */
import { arrow, box, cross, labelled, line, lines, type Picture, text, tick } from "./svg.ts"

const lanes = { a: 58, nodes: 122, b: 186, resource: 250 }
const high = 34

export const frozenHolder: Picture = {
  title: "A frozen holder is turned away by its token",
  description:
    "A holds the lock with token 33, writes once, and is frozen. Its lease ends on the nodes; B acquires the lock with token " +
    "34 and writes. A wakes up and sends a write with token 33. The resource has seen 34 and rejects it.",
  height: 344,
  elements: [
    text(24, 32, "A frozen holder is turned away by its token", { class: "title" }),
    ...([["holder A", lanes.a], ["lock on the nodes", lanes.nodes], ["holder B", lanes.b], [
      "the resource",
      lanes.resource
    ]] as const).flatMap((
      [label, y]
    ) => [text(24, y + 22, label, { class: "strong" }), line(160, y + 17, 816, y + 17)]),

    arrow(222, lanes.a + high, 222, lanes.resource, "line-green"),
    arrow(540, lanes.b + high, 540, lanes.resource, "line-green"),
    arrow(660, lanes.a + high, 660, lanes.resource, "line-red"),

    labelled(160, lanes.a, 150, high, "green", "works, token 33"),
    labelled(310, lanes.a, 290, high, "grey", "frozen; time passes unnoticed"),
    labelled(600, lanes.a, 96, high, "amber", "wakes"),

    labelled(160, lanes.nodes, 278, high, "blue", "lease of A"),
    labelled(446, lanes.nodes, 370, high, "blue", "lease of B, extended while it works"),

    box(238, lanes.b, 208, high, "grey", " dashed"),
    text(342, lanes.b + 22, "waits", { anchor: "middle", class: "faint" }),
    labelled(446, lanes.b, 250, high, "green", "works, token 34"),

    labelled(160, lanes.resource, 124, high, "green", "33 written"),
    tick(172, lanes.resource + 17),
    labelled(478, lanes.resource, 124, high, "green", "34 written"),
    tick(490, lanes.resource + 17),
    labelled(622, lanes.resource, 194, high, "red", "33 after 34: rejected"),
    cross(638, lanes.resource + 17),

    lines(24, 312, [
      "The lock cannot stop a request that is already on its way. The resource can: it keeps the largest token it has seen,",
      "and rejects smaller ones."
    ])
  ]
}
