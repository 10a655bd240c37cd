// At most three connections to a database from all instances together: a request that gets none in time is rejected.
import { Console, Effect } from "effect"
import { Redsync, retryPolicy, semaphore } from "effect-redsync"

const connections = semaphore("db:connections", { limit: 3, retry: retryPolicy({ within: "200 millis" }) })

// The permit is acquired before the connection is opened, and released after it is closed.
const connection = Effect.andThen(
  connections.takeScoped(1),
  Effect.acquireRelease(Effect.succeed({ query: Effect.succeed("200: a row") }), () => Effect.void)
)

const answer = Effect.scoped(Effect.flatMap(connection, ({ query }) => query)).pipe(
  Effect.catchTags({
    ErrFailed: ({ limit }) => Effect.succeed(`503: all ${limit} connections are in use`),
    // Without the servers nothing limits the connections: reject the request, or admit it if your database can bear it.
    NodesUnavailable: () => Effect.succeed("503: try again later")
  })
)
const request = Effect.flatMap(answer, Console.log).pipe(Effect.provide(Redsync.layerEnv()))

// While a report holds all three, in any instance, a request gets none.
const report = connections.withPermits(3)(Effect.andThen(Console.log("reporting"), request))

await Effect.runPromise(Effect.andThen(request, Effect.provide(report, Redsync.layerEnv())))
// => 200: a row
// => reporting
// => 503: all 3 connections are in use
