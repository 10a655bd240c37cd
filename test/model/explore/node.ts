/**
 * A node as a process reaches it: a `MemoryNode` at the other end of messages. A
 * request, its reply and a notification are a message each.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import { type LockNode, MemoryNode } from "../../../src/index.ts"
import type { Notice } from "../../../src/LockNode.ts"
import { Process } from "./process.ts"
import type { Channel, World } from "./world.ts"

/** A server: its event loop, and what it stores. */
export class Server {
  readonly name: string
  readonly process: Process
  readonly node: LockNode

  constructor(world: World, name: string, index: number) {
    this.name = name
    this.process = new Process(world, name, index)
    this.node = MemoryNode.make(name)
  }

  /** Runs an operation of the node, which never waits. */
  run<A, E>(effect: Effect.Effect<A, E>): Exit.Exit<A, E> {
    let exit: Exit.Exit<A, E> | undefined
    this.process.turn(() => this.process.fork(effect).addObserver((done) => exit = done))
    if (exit === undefined) throw new Error(`${this.name} has not answered`)
    return exit
  }

  /** The value under a key. */
  peek(key: string): string | undefined {
    const exit = this.run(this.node.inspect(key))
    return Exit.isSuccess(exit) ? Option.getOrUndefined(exit.value)?.value : undefined
  }
}

/** How long a key lives that is handed over to somebody who does not hear of it. */
const handOverMillis = 1000

type Operation = (...args: ReadonlyArray<unknown>) => Effect.Effect<unknown, unknown>

/** The connections of a process to a server. */
export class Link {
  readonly node: LockNode
  /** The values that the process has sent. */
  readonly values = new Set<string>()
  readonly #process: Process
  readonly #server: Server
  readonly #requests: Channel
  readonly #replies: Channel
  readonly #notices: Channel
  readonly #handsOver: boolean
  readonly #scope: Scope.Closeable

  constructor(world: World, process: Process, server: Server, handsOver: boolean) {
    this.#process = process
    this.#server = server
    this.#requests = world.channel(`${process.name} -> ${server.name}`)
    this.#replies = world.channel(`${process.name} <- ${server.name}`, process)
    this.#notices = world.channel(`${process.name} <~ ${server.name}`, process, handOverMillis)
    this.#handsOver = handsOver
    this.#scope = Scope.makeUnsafe()
    const { delayedRestart: _, id, waitingList, ...operations } = server.node
    this.node = {
      ...this.#remote(operations, ""),
      id,
      waitingList: (waiterId, onNotice) =>
        Effect.map(
          Effect.acquireRelease(
            Effect.sync(() => this.#open(waitingList!(waiterId, (notice) => this.#notify(notice, onNotice)))),
            () => Effect.sync(() => this.hangUp())
          ),
          (list) => this.#remote(list, "")
        )
    }
  }

  /** The process is gone; what it has sent arrives before. */
  abandon(): void {
    this.#process.world.send(this.#requests, "hangs up", () => {
      this.#process.world.comesIn(this.#server.name, `${this.#process.name} hangs up`)
      this.hangUp()
    })
  }

  /** The connection for notifications ends. */
  hangUp(): void {
    this.#server.run(Scope.close(this.#scope, Exit.void))
  }

  #open<A>(list: Effect.Effect<A, never, Scope.Scope>): A {
    const exit = this.#server.run(Effect.provideService(list, Scope.Scope, this.#scope))
    if (Exit.isFailure(exit)) throw new Error(`${this.#server.name} has no waiting lists`)
    return exit.value
  }

  #notify(notice: Notice, onNotice: (notice: Notice) => void): void {
    this.#send(this.#notices, JSON.stringify(notice), () => onNotice(notice))
  }

  /** The same operations, by messages. */
  #remote<A extends object>(operations: A, path: string): A {
    return Object.fromEntries(
      Object.entries(operations).filter(([name]) => this.#handsOver || name !== "handOver").map((
        [name, operation]: [string, unknown]
      ) => [
        name,
        typeof operation === "function"
          ? this.#operation(path + name, operation as Operation)
          : this.#remote(operation as object, `${path}${name}.`)
      ])
    ) as A
  }

  #operation(name: string, operation: Operation): Operation {
    return (...args) =>
      Effect.callback((resume) => {
        const what = `${name}(${args.map((arg) => JSON.stringify(arg)).join(", ")})`
        let isWaiting = true
        const value = Predicate.hasProperty(args[1], "value") ? args[1].value : args[1]
        if (typeof value === "string") this.values.add(value)
        this.#process.world.send(this.#requests, what, () => {
          this.#process.world.comesIn(this.#server.name, `${this.#process.name} ${what}`)
          const exit = this.#server.run(operation(...args))
          this.#send(this.#replies, `${what} = ${show(exit)}`, () => {
            if (isWaiting) resume(exit)
          })
        })
        return Effect.sync(() => {
          isWaiting = false
        })
      })
  }

  /** To the process. */
  #send(channel: Channel, what: string, arrive: () => void): void {
    const { name, world } = this.#process
    world.send(channel, what, () => {
      world.comesIn(name, `${channel.name} ${what}`)
      this.#process.turn(arrive)
    })
  }
}

const show = (exit: Exit.Exit<unknown, unknown>): string => JSON.stringify(Exit.isSuccess(exit) ? exit.value : exit)
