// An HTTP service that charges an invoice once, whichever of its instances a request goes to.
// REDSYNC_NODES names the servers for locks, PAYMENTS_URL the payment provider, PORT the port to listen on.
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Context, Effect, flow, Layer, Option, Schema } from "effect"
import { health, Keyed, Redsync, retryPolicy } from "effect-redsync"
import { FetchHttpClient, HttpClient, HttpClientRequest, HttpClientResponse, HttpRouter } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpApiSchema } from "effect/http-api"
import { PrometheusMetrics } from "effect/observability"
import { createServer } from "node:http"

// -----------------------------------------------------------------------------
// what it offers
// -----------------------------------------------------------------------------

class Charge extends Schema.Class<Charge>("Charge")({ invoice: Schema.Int, reference: Schema.String }) {}

/** Another request is charging the same invoice: try again in a moment. */
class Busy extends Schema.TaggedError<Busy>()("Busy", {}, { httpApiStatus: 409 }) {}

/** Too few servers for locks respond, or the payment provider does not. It is unknown whether the invoice was charged. */
class Unavailable extends Schema.TaggedError<Unavailable>()("Unavailable", {}, { httpApiStatus: 503 }) {}

class Api extends HttpApi.make("invoices")
  .add(
    HttpApiGroup.make("invoices").add(
      HttpApiEndpoint.post("charge", "/invoices/:id/charge", {
        params: { id: Schema.Int },
        success: Charge,
        error: [Busy, Unavailable]
      })
    )
  )
  .add(
    HttpApiGroup.make("system").add(
      HttpApiEndpoint.get("ready", "/ready", { success: HttpApiSchema.NoContent, error: Unavailable })
    )
  )
{}

// -----------------------------------------------------------------------------
// how it charges
// -----------------------------------------------------------------------------

class Payments extends Context.Service<Payments>()("app/Payments", {
  make: Effect.gen(function*() {
    const url = yield* Config.String("PAYMENTS_URL")
    const client = (yield* HttpClient.HttpClient).pipe(
      HttpClient.mapRequest(flow(HttpClientRequest.prependUrl(url), HttpClientRequest.acceptJson))
    )
    // A request that was cut off may still arrive after a later request. The key lets the provider recognise that.
    const charge = (invoice: number) =>
      HttpClientRequest.post("/charges").pipe(
        HttpClientRequest.setHeader("idempotency-key", `invoice-${invoice}`),
        HttpClientRequest.bodyJsonUnsafe({ invoice }),
        client.execute,
        Effect.flatMap(HttpClientResponse.filterStatusOk),
        Effect.flatMap(HttpClientResponse.schemaBodyJson(Charge))
      )
    const find = (invoice: number) =>
      Effect.flatMap(client.get(`/charges/${invoice}`), (response) =>
        response.status === 404
          ? Effect.succeedNone
          : HttpClientResponse.filterStatusOk(response).pipe(
            Effect.flatMap(HttpClientResponse.schemaBodyJson(Charge)),
            Effect.asSome
          ))
    return { charge, find }
  })
}) {
  static readonly layer = Layer.effect(this, this.make).pipe(Layer.provide(FetchHttpClient.layer))
}

class InvoiceLock extends Keyed<InvoiceLock>()("app/InvoiceLock", {
  name: (invoice: number) => `invoices:${invoice}`,
  // A request should not wait for longer than its client does.
  retry: retryPolicy({ delay: "50 millis", within: "2 seconds" })
}) {}

const charge = Effect.fn("charge")(
  function*(invoice: number) {
    const payments = yield* Payments
    // Looked up under the lock: an earlier request may have charged already, even if it was cut off.
    const found = yield* payments.find(invoice)
    return Option.isSome(found) ? found.value : yield* payments.charge(invoice)
  },
  (program, invoice) => InvoiceLock.withLock(invoice, program),
  Effect.tapErrorTag("ErrFailed", (error) => Effect.logInfo(error.message)),
  Effect.catchTag("ErrFailed", () => new Busy()),
  Effect.catchIf(
    (error) => !(error instanceof Busy),
    (error) => Effect.andThen(Effect.logError("Could not charge", error), new Unavailable())
  )
)

// -----------------------------------------------------------------------------
// how it is served
// -----------------------------------------------------------------------------

const invoices = HttpApiBuilder.group(
  Api,
  "invoices",
  (handlers) => handlers.handle("charge", ({ params }) => charge(params.id))
)

const system = HttpApiBuilder.group(
  Api,
  "system",
  (handlers) =>
    handlers.handle(
      "ready",
      () => Effect.flatMap(health, ({ isReady }) => isReady ? Effect.void : new Unavailable())
    )
)

const routes = Layer.merge(
  HttpApiBuilder.layer(Api).pipe(Layer.provide([invoices, system])),
  // GET /metrics, with all metrics of the library.
  PrometheusMetrics.layerHttp()
)

// On SIGTERM it accepts no new connections, finishes its open requests, for 20 seconds at most, and then closes the layers
// below, which release the locks of interrupted requests.
const server = HttpRouter.serve(routes).pipe(
  Layer.provide(NodeHttpServer.layerConfig(createServer, { port: Config.withDefault(Config.Port("PORT"), 3000) })),
  Layer.provide([InvoiceLock.layer, Payments.layer]),
  Layer.provide(Redsync.layerEnv())
)

NodeRuntime.runMain(Layer.launch(server))
