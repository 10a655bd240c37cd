/** What is left of a lease, while all is well and when the nodes cannot be reached. */
import { at, box, cross, labelled, line, lines, type Picture, text, tick } from "./svg.ts"

const [left, right] = [176, 816]
/** A lease of full length, in pixels of time and of height. */
const [expiry, tall] = [270, 76]
const third = expiry / 3

/** The remaining time of a lease: back to its full length with each extension, until `end`. */
const remaining = (top: number, extensions: ReadonlyArray<number>, end: number) => {
  const floor = top + tall
  let path = `M${left} ${top}`
  let from = left
  for (const x of [...extensions, end]) {
    path += `L${at(x)} ${at(top + tall * (x - from) / expiry)}`
    if (x !== end) path += `V${top}`
    from = x
  }
  return `<path class="in-blue" d="${path}V${floor}H${left}z"/><path class="line-blue" d="${path}"/>` +
    line(left, floor, right, floor) + text(left - 12, top + 9, "full expiry", { anchor: "end", class: "small faint" }) +
    text(left - 12, floor + 1, "0", { anchor: "end", class: "small faint" })
}

const row = (y: number, label: string) => text(24, y + 19, label, { class: "strong" })

const well = (top: number) => {
  const extensions = [1, 2, 3, 4].map((n) => left + n * third)
  const end = left + 4.6 * third
  return [
    text(24, top - 28, "All is well", { class: "strong" }),
    text(left, top - 28, "extended a third of the expiry after each success, released when the program ends", {
      class: "faint"
    }),
    row(top + 28, "remaining lease"),
    remaining(top, extensions, end),
    ...extensions.map((x) => tick(x, top - 9)),
    row(top + 92, "program"),
    labelled(left, top + 92, end - left, 26, "green", "runs under the lock"),
    labelled(end + 6, top + 92, right - end - 6, 26, "green", "the next holder, at once")
  ]
}

const lost = (top: number) => {
  const last = left + third
  const end = last + expiry
  return [
    text(24, top - 28, "Nodes out of reach", { class: "strong" }),
    text(left, top - 28, "the program is interrupted before another client can acquire the lock", { class: "faint" }),
    row(top + 28, "remaining lease"),
    remaining(top, [last], end),
    tick(last, top - 9),
    ...[third, 1.25 * third, 1.6 * third, 2.2 * third].map((after) =>
      cross(last + after, top + tall * after / expiry - 13, "red", 4)
    ),
    text(last + 2.3 * third, top + 22, "extensions fail, and are retried", { class: "red" }),
    row(top + 92, "program"),
    labelled(left, top + 92, end - left, 26, "green", "runs under the lock"),
    text(end + 10, top + 110, "interrupted, then LockLost", { class: "red" }),
    row(top + 124, "keys on the nodes"),
    box(left, top + 124, end + 42 - left, 26, "blue"),
    text((left + end) / 2, top + 142, "expire a little later", { anchor: "middle" }),
    labelled(end + 48, top + 124, right - end - 48, 26, "green", "the next holder")
  ]
}

export const lifeOfALock: Picture = {
  title: "The life of a lock",
  description:
    "Above: the remaining time of the lease runs down, and each extension restores it to the full expiry, a third of the " +
    "expiry after the last; the program ends, the lock is released, and the next holder has it at once. Below: extensions " +
    "fail, the remaining time runs down to zero, the program is interrupted and fails with LockLost; the keys on the nodes " +
    "expire a little later, and then another can acquire the lock.",
  height: 474,
  elements: [
    text(24, 32, "The life of a lock", { class: "title" }),
    ...well(100),
    ...lost(282),
    lines(
      24,
      458,
      ["Time runs to the right. By default the expiry is 8 s, and the first extension comes after 2.7 s."],
      {
        class: "faint"
      }
    )
  ]
}
