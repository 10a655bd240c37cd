/**
 * What no server says: frames of every type and size, and bytes that are no frames.
 */
import type { Chance } from "../simulation/world/chance.ts"

/** One kind of nonsense. */
export type Nonsense = (chance: Chance) => string

const bulk = (text: string) => `$${Buffer.byteLength(text, "latin1")}\r\n${text}\r\n`
const array = (items: ReadonlyArray<string>, type = "*") => `${type}${items.length}\r\n${items.join("")}`

const errors = [
  "ABSTAINS 5 1",
  "ABSTAINS 0 0",
  "ABSTAINS 1 5",
  "ABSTAINS 1 99999999999999999999999999999999",
  "ABSTAINS -1 5",
  "ABSTAINS",
  "MOVED 1234 127.0.0.1:1",
  "MOVED 99999999 :0",
  "MOVED",
  "ASK 1234 127.0.0.1:1",
  "TRYAGAIN Multiple keys request during rehashing of slot",
  "CLUSTERDOWN The cluster is down",
  "CROSSSLOT Keys in request don't hash to the same slot",
  "LOADING Redis is loading the dataset in memory",
  "MASTERDOWN Link with MASTER is down",
  "READONLY You can't write against a read only replica.",
  "NOSCRIPT No matching script. Please use EVAL.",
  "EXECABORT Transaction discarded because of previous errors.",
  "NOAUTH Authentication required.",
  "WRONGPASS invalid username-password pair or user is disabled.",
  "NOPERM this user has no permissions to run the 'set' command",
  "NOPROTO unsupported protocol version",
  "WRONGTYPE Operation against a key holding the wrong kind of value",
  "OOM command not allowed when used memory > 'maxmemory'.",
  "BUSY Redis is busy running a script.",
  "UNKILLABLE",
  "NOREPLICAS Not enough good replicas to write.",
  "MISCONF Redis is configured to save RDB snapshots",
  "ERR max number of clients reached",
  "ERR unknown command `SET`, with args beginning with: `a`, `b`",
  "ERR The client ID you want redirect to does not exist",
  "ERR",
  "err in small letters",
  "",
  " ",
  "-",
  "\u001b[31mERR in red\u0007",
  "ERR null \0 byte",
  "ERR \xff\xfe\x80"
]

const error: Nonsense = (chance) =>
  chance.in(0.05) ? `-ERR ${"long ".repeat(chance.int(1, 20_000))}\r\n` : `-${chance.pick(errors)}\r\n`

const numbers = [
  "0",
  "1",
  "-1",
  "2",
  "3",
  "8",
  "15",
  "-2",
  "+1",
  "01",
  "1.0",
  "0.5",
  "-0",
  "9007199254740991",
  "9007199254740992",
  "9223372036854775807",
  "-9223372036854775808",
  "99999999999999999999999999999999999999999",
  "1e400",
  "NaN",
  "inf",
  "-inf",
  "0x1",
  "",
  " 1",
  "one"
]

const strings = [
  "OK",
  "ok",
  "QUEUED",
  "PONG",
  "1",
  "0",
  "none",
  "string",
  "list",
  "hash",
  "",
  "null",
  "message",
  "\0",
  "\xff\xfe"
]

const number: Nonsense = (chance) => `:${chance.pick(numbers)}\r\n`

const string: Nonsense = (chance) =>
  chance.in(0.05)
    ? bulk("x".repeat(chance.int(1, 200_000)))
    : chance.in(0.5)
    ? bulk(chance.pick([...strings, ...numbers]))
    : `+${chance.pick([...strings, ...numbers])}\r\n`

const nothing: Nonsense = (chance) => chance.pick(["$-1\r\n", "*-1\r\n", "_\r\n", "*0\r\n", "$0\r\n\r\n", "+\r\n"])

/** The types that came with RESP3. */
const resp3: Nonsense = (chance) =>
  chance.pick([
    "#t\r\n",
    "#f\r\n",
    "#x\r\n",
    ",1\r\n",
    ",1.5\r\n",
    ",inf\r\n",
    ",nan\r\n",
    ",\r\n",
    "(1\r\n",
    "(123456789012345678901234567890\r\n",
    "(x\r\n",
    "=6\r\ntxt:OK\r\n",
    "=2\r\nOK\r\n",
    "!9\r\nERR error\r\n",
    "!0\r\n\r\n",
    "%1\r\n+a\r\n:1\r\n",
    "%1\r\n*1\r\n:1\r\n:1\r\n",
    "%0\r\n",
    "~2\r\n:1\r\n:1\r\n",
    "~0\r\n",
    "|1\r\n+ttl\r\n:3600\r\n:1\r\n",
    "|0\r\n",
    "$?\r\n;2\r\nOK\r\n;0\r\n",
    "*?\r\n:1\r\n.\r\n",
    "_\r\n"
  ])

const nested: Nonsense = (chance) => {
  const depth = chance.pick([1, 2, 3, 10, 100, 1000, 5000, 20_000])
  return chance.pick(["*1\r\n", "~1\r\n", "%1\r\n:1\r\n", ">1\r\n"]).repeat(depth) + number(chance)
}

const item: Nonsense = (chance) => chance.pick([number, string, nothing, error, resp3])(chance)

const several = (chance: Chance, most: number) => Array.from({ length: chance.int(0, most) }, () => item(chance))

const list: Nonsense = (chance) => array(several(chance, chance.in(0.05) ? 2000 : 5), chance.pick(["*", "*", "~"]))

/** What the inspect script answers, nearly. */
const keyState: Nonsense = (chance) =>
  array([bulk(chance.pick(["string", "none", "list", "x".repeat(100_000)])), item(chance), item(chance)])

/** What the join script answers, nearly. */
const place: Nonsense = (chance) => array([number(chance), number(chance)])

/** What comes unasked on a connection that listens, nearly. */
const message: Nonsense = (chance) => {
  const type = chance.pick(["*", ">"])
  const kind = chance.pick([
    "message",
    "pmessage",
    "smessage",
    "subscribe",
    "unsubscribe",
    "sunsubscribe",
    "invalidate",
    "monitor",
    "pong"
  ])
  const channel = chance.pick([bulk("__redis__:invalidate"), bulk("redsync:turn:x"), bulk(""), item(chance)])
  const payload = chance.pick([bulk("key"), array([bulk("key")]), array(several(chance, 3)), item(chance)])
  return array([chance.in(0.1) ? item(chance) : bulk(kind), channel, payload].slice(0, chance.int(1, 3)), type)
}

const lengths: Nonsense = (chance) => {
  const length = chance.pick([
    "-2",
    "-1",
    "",
    "1",
    "5",
    "1e3",
    "999999",
    "2147483647",
    "4294967296",
    "9007199254740993",
    "99999999999999999999",
    "x",
    "?",
    "1.5",
    "+1"
  ])
  return `${chance.pick(["$", "*", "%", "~", ">", "=", "!"])}${length}\r\n${chance.in(0.5) ? item(chance) : ""}`
}

const bytes: Nonsense = (chance) => {
  const text = Buffer.alloc(chance.skewedInt(1, 2000))
  chance.bytes(text)
  return text.toString("latin1")
}

const punctuation: Nonsense = (chance) =>
  Array.from(
    { length: chance.int(1, 20) },
    () => chance.pick([..."+-:$*%~>,#(_=!|;.?10\r\n".split(""), "\r\n", "\r\n"])
  ).join("")

const http: Nonsense = () => "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

/** All kinds, by name. */
export const kinds = {
  error,
  number,
  string,
  nothing,
  resp3,
  nested,
  list,
  keyState,
  place,
  message,
  lengths,
  bytes,
  punctuation,
  http
} satisfies Record<string, Nonsense>

export type Kind = keyof typeof kinds

export const kindNames = Object.keys(kinds) as ReadonlyArray<Kind>

export const nonsense = (chance: Chance, among: ReadonlyArray<Kind>): Buffer =>
  Buffer.from(kinds[chance.pick(among)](chance), "latin1")

/** A reply that is nearly right: some of its bytes are others, too few or too many. */
export const garbled = (chance: Chance, reply: Buffer): Buffer => {
  const copy = Buffer.from(reply)
  const at = chance.int(0, Math.max(0, copy.length - 1))
  switch (chance.int(0, 6)) {
    case 0:
      copy[at] = chance.int(0, 255)
      return copy
    case 1:
      copy[0] = chance.pick("+-:$*%~>,#(_=!|".split("")).charCodeAt(0)
      return copy
    case 2:
      return copy.subarray(0, at)
    case 3:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + 1)])
    case 4:
      return Buffer.concat([copy.subarray(0, at), Buffer.from(punctuation(chance), "latin1"), copy.subarray(at)])
    case 5:
      return Buffer.from(
        copy.toString("latin1").replaceAll("\r\n", chance.pick(["\n", "\r", "\r\n\r\n", ""])),
        "latin1"
      )
    default:
      return Buffer.from(copy.toString("latin1").replace(/\d+/, chance.pick(numbers)), "latin1")
  }
}
