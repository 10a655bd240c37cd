// A fleet of instances, one of which sends the messages in an outbox. It writes to PostgreSQL with the token of its term,
// so that PostgreSQL can reject a former leader. REDSYNC_NODES names the servers for locks.
import { NodeRuntime } from "@effect/platform-node"
import { PGlite } from "@electric-sql/pglite"
import { Console, Context, Effect, Layer, Schedule, Schema } from "effect"
import { type FencingToken, Leader, Redsync } from "effect-redsync"

// -----------------------------------------------------------------------------
// the database
// -----------------------------------------------------------------------------

/** A `Pool` of `pg` fits, as does PGlite. */
export class Database extends Context.Service<Database, {
  readonly query: (sql: string, parameters: Array<unknown>) => Promise<{ readonly rows: ReadonlyArray<unknown> }>
}>()("app/Database") {}

export const tables = `
  CREATE TABLE IF NOT EXISTS outbox (id SERIAL PRIMARY KEY, message TEXT NOT NULL, sent_in_term BIGINT);
  CREATE TABLE IF NOT EXISTS terms (name TEXT PRIMARY KEY, token BIGINT NOT NULL)`

/** Yields a row if no later leader has been here. A later leader waits until this transaction ends. */
const checkTerm = `
  INSERT INTO terms (name, token) VALUES ('outbox', $1)
  ON CONFLICT (name) DO UPDATE SET token = excluded.token WHERE terms.token <= excluded.token
  RETURNING token`

const firstUnsent = "SELECT id, message FROM outbox WHERE sent_in_term IS NULL ORDER BY id LIMIT 1"

const markSent = `
  WITH term AS (${checkTerm})
  UPDATE outbox SET sent_in_term = $1 WHERE id = $2 AND EXISTS (SELECT 1 FROM term)
  RETURNING id`

const Message = Schema.Struct({ id: Schema.Int, message: Schema.String })

/** Another instance leads by now, so nothing was written. */
export class FormerLeader extends Schema.TaggedError<FormerLeader>()("FormerLeader", { token: Schema.Int }) {}

// -----------------------------------------------------------------------------
// what the leader does
// -----------------------------------------------------------------------------

/** How a message is sent: your mail, your queue. */
export class Sender extends Context.Service<Sender, { readonly send: (message: string) => Effect.Effect<void> }>()(
  "app/Sender"
) {}

const query = (sql: string, ...parameters: Array<unknown>) =>
  Effect.flatMap(Database, (database) => Effect.tryPromise(() => database.query(sql, parameters)))

/** Sends the oldest message, if there is one. A message that cannot be marked as sent is sent again: at least once. */
const sendNext = (token: FencingToken) =>
  Effect.gen(function*() {
    const [next] = (yield* query(firstUnsent)).rows
    if (next === undefined) return
    const { id, message } = yield* Schema.decodeUnknownEffect(Message)(next)
    yield* (yield* Sender).send(message)
    const { rows } = yield* query(markSent, token, id)
    if (rows.length === 0) return yield* new FormerLeader({ token })
  })

/** What every instance builds. A leader that crashes is replaced when its lease ends; a leader that shuts down, at once. */
export const instance = Leader.singleton(
  "outbox",
  ({ token }) => Effect.repeat(sendNext(token), Schedule.spaced("50 millis")),
  { expiry: "5 seconds" }
)

// -----------------------------------------------------------------------------
// running an instance
// -----------------------------------------------------------------------------

if (import.meta.main) {
  // PostgreSQL within the process, for experiments; with `pg`, use Layer.succeed(Database, new Pool()).
  const database = Layer.effect(
    Database,
    Effect.promise(async () => {
      const database = await PGlite.create()
      await database.exec(`${tables}; INSERT INTO outbox (message) VALUES ('one'), ('two'), ('three')`)
      return database
    })
  )
  const sender = Layer.succeed(Sender, { send: (message) => Console.log(`sent ${message}`) })

  instance.pipe(
    Layer.provide([database, sender, Redsync.layerEnv()]),
    Layer.launch,
    NodeRuntime.runMain
  )
}
