/** The folders of the source. Each imports only what is below it in its column. */
import { arrow, box, labelled, line, type Picture, text, type Tint } from "./svg.ts"

const rows: ReadonlyArray<readonly [string, string]> = [
  ["service/", "one service and the state its locks share"],
  ["acquire/", "attempts, until a quorum grants"],
  ["hold/ · admin/", "a held lock; inspect, unlock, health"],
  ["claim/", "a name, an attempt's value, its clean-up"],
  ["quorum/ · waiting/", "asks nodes and counts votes; queues and lines"],
  ["lease/", "how long a lock is valid"],
  ["telemetry/", "metrics, spans"]
]

const folder = (x: number, y: number, wide: number, name: string, what: string, tint: Tint) =>
  box(x, y, wide, 30, tint) + text(x + 14, y + 19.5, name, { class: "mono strong" }) +
  text(x + 160, y + 19.5, what, { class: "small" })

export const architecture: Picture = {
  title: "The folders of the source",
  description:
    "Left, the algorithm, from top to bottom: the public modules, then service, acquire, hold and admin, claim, quorum and " +
    "waiting, lease, telemetry. It knows a server only as a LockNode. Right, what implements LockNode: IoredisNode, RedisNode " +
    "and MemoryNode over ioredis, effectRedis, redis and memory. Below both: base.",
  height: 428,
  elements: [
    text(24, 32, "A folder imports only what is below it in its column", { class: "title" }),
    labelled(24, 52, 452, 40, "green", "Redsync · Lock · Semaphore · Leader · Keyed · cli/", { class: "mono strong" }),
    ...rows.map(([name, what], index) => folder(24, 104 + index * 36, 452, name, what, "blue")),

    labelled(596, 52, 220, 40, "green", "IoredisNode · RedisNode", { class: "mono strong" }),
    labelled(596, 104, 105, 66, "amber", "ioredis/", { class: "mono strong" }),
    labelled(711, 104, 105, 66, "amber", "effectRedis/", { class: "mono strong" }),
    box(596, 176, 220, 66, "amber"),
    text(706, 204, "redis/", { anchor: "middle", class: "mono strong" }),
    text(706, 224, "a node over any client", { anchor: "middle", class: "small" }),
    labelled(596, 254, 220, 40, "green", "MemoryNode", { class: "mono strong" }),
    box(596, 300, 220, 50, "amber"),
    text(706, 321, "memory/", { anchor: "middle", class: "mono strong" }),
    text(706, 339, "a node in memory", { anchor: "middle", class: "small" }),

    arrow(480, 201, 592, 201),
    text(536, 192, "LockNode", { anchor: "middle", class: "mono strong" }),
    text(536, 221, "all it knows", { anchor: "middle", class: "small faint" }),
    text(536, 237, "of a server", { anchor: "middle", class: "small faint" }),

    line(24, 362, 816, 362),
    box(24, 374, 792, 34, "grey"),
    text(38, 396, "base/", { class: "mono strong" }),
    text(184, 396, "clocks, timers, text; and the public types, which every folder may import", { class: "small" })
  ]
}
