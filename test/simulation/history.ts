/**
 * One history: a plan carried out, and what the checker has to say of it.
 */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import { Checker, type Violation } from "./checks/checker.ts"
import type { Fault, Plan } from "./plan/plan.ts"
import { Chance } from "./world/chance.ts"
import { type Client, live } from "./world/client.ts"
import { Link } from "./world/link.ts"
import * as Node from "./world/node.ts"
import { Process } from "./world/process.ts"
import { Server } from "./world/server.ts"
import { World } from "./world/world.ts"

export interface History {
  readonly violations: ReadonlyArray<Violation>
  readonly counts: ReadonlyMap<string, number>
  readonly timeline: ReadonlyArray<string>
  readonly events: number
  /** How much time went by. */
  readonly millis: number
}

/** Long after everything should be over. Timers that were cancelled may be left. */
const horizonMillis = 10_000_000

export const run = (plan: Plan, record = false): History => {
  const world = new World(new Chance(plan.seed, 1), record)
  const checker = new Checker(world, plan)
  const servers = plan.servers.map((options) => new Server(world, options, checker))
  const links: Array<Array<Link>> = []
  // Clean-ups are tried again ever more rarely: by then each that failed before the network healed has had its turn.
  const cleanAt = plan.healedAt * 2 + 3000
  const clients = plan.processes.map((options): Client => {
    const process = new Process(world, options)
    process.onTurn = () => checker.leases.afterTurn(process)
    process.onUncaught = (error) => checker.violated("8 nothing is thrown", `${process.name}: ${String(error)}`)
    process.onLog = (line) => {
      world.log(() => `${process.name} logs: ${line}`)
      checker.logged(line)
    }
    const calls: Node.Calls = {
      underWay: 0,
      onAcquire: (key, value) => checker.asked(process, key, value),
      onTouch: (operation, about) => checker.touching(process, operation, about),
      onReconnect: () => checker.count("connections given up"),
      onRaise: (value) => checker.raising(value),
      onTurn: () => checker.count("turns given notice of"),
      onHandedOver: (server, value) => checker.told(server, value),
      onJoin: (key, value) => checker.standsInLine(process, key, value),
      short: (value) => checker.short(value)
    }
    const own = servers.map((server) => new Link(process, server, plan.link))
    links.push(own)
    const chance = world.chance.fork()
    const nodes = own.map((link) =>
      Node.make(link, calls, {
        hasList: plan.hasLists,
        handsOver: options.handsOver,
        breaks: () => link.isFaulty && plan.link.fails && chance.in(0.02) ? chance.pick(["throws", "dies"]) : undefined,
        minUptimeMillis: 0,
        acknowledgedWithin: undefined
      })
    )
    const nodeTimeouts = options.workers.flat().map(({ options }) => options.nodeTimeout / process.rate)
    process.nodeTimeouts = { shortest: Math.min(...nodeTimeouts), longest: Math.max(...nodeTimeouts) }
    return { process, plan: options, nodes, calls, besides: [], isClosed: false, isDone: false }
  })
  const linksOf = new Map(clients.map(({ process }, index) => [process, links[index]!]))
  world.onEvent = () => checker.happened(linksOf)
  for (const client of clients) {
    world.at(
      client.plan.startsAt,
      () =>
        client.process.deliver(() => {
          const { process } = client
          process.fork(live(client, { plan, checker, servers, cleanAt })).addObserver((exit) => {
            if (Exit.isFailure(exit) && !process.dead) {
              checker.violated("no defects", `${process.name} fails: ${String(Cause.squash(exit.cause))}`)
              client.isDone = true
            }
          })
        })
    )
  }
  for (const fault of plan.faults) {
    world.at(fault.at, () => {
      checker.count(`fault: ${fault._tag}`)
      if (fault._tag === "Foreign" && fault.foreign !== undefined) checker.foreign(fault.foreign.value)
      happen(fault, world, clients, servers, links)
    })
  }
  world.at(plan.healedAt, () => {
    world.log(() => "the network has healed")
    for (const link of links.flat()) {
      link.isFaulty = false
      // What was slow before is still under way.
      const { millis, share } = plan.link.slow
      link.disturbedAt = world.now + (share > 0 ? millis : 0)
    }
  })
  world.runOut(horizonMillis)
  if (world.stopped) checker.violated("no spinning", `there is no end after ${world.events} events`)
  for (const { isDone, process } of clients) {
    if (!isDone && !process.dead) checker.violated("liveness", `${process.name} has not come to its end`)
  }
  const { counts, violations } = checker
  return { violations, counts, timeline: world.timeline ?? [], events: world.events, millis: world.now }
}

const happen = (
  fault: Fault,
  world: World,
  clients: ReadonlyArray<Client>,
  servers: ReadonlyArray<Server>,
  links: ReadonlyArray<ReadonlyArray<Link>>
): void => {
  const between = (
    { process, server }: { readonly process: number | undefined; readonly server: number | undefined }
  ) =>
    (process === undefined ? links.flat() : links[process] ?? [])
      .filter((link) => server === undefined || link.server === servers[server])
  switch (fault._tag) {
    case "Partition": {
      const cut = between(fault)
      const places = `${fault.process === undefined ? "all" : `p${fault.process + 1}`} and ${
        fault.server === undefined ? "all" : `n${fault.server + 1}`
      }`
      world.log(() => `${fault.lost} between ${places} are lost for ${fault.millis.toFixed(1)} ms`)
      for (const link of cut) {
        link.cut[fault.lost]++
        if (fault.lost === "refusing") link.break()
      }
      return world.after(fault.millis, () => {
        world.log(() => `${fault.lost} between ${places} come through again`)
        for (const link of cut) {
          link.cut[fault.lost]--
          link.disturbedAt = world.now
        }
      })
    }
    case "HoldUp":
      return between(fault).forEach((link) => link.holdUp(fault.millis))
    case "FailOver":
      return servers[fault.server]!.failOver()
    case "Foreign": {
      const { foreign, name } = fault
      const targets = fault.servers.map((index) => servers[index]!)
      for (const server of targets) {
        if (fault.onlyIfFree && server.live(name) !== undefined) continue
        world.log(() =>
          `somebody else ${
            foreign === undefined ? "deletes" : `puts a ${foreign.type} under`
          } ${name} on ${server.name}`
        )
        server.meddle(name, foreign)
      }
      return world.after(fault.millis, () => {
        for (const server of targets) {
          if (foreign !== undefined && server.live(name)?.value === foreign.value) server.meddle(name, undefined)
        }
      })
    }
    case "Break":
      return between(fault).forEach((link) => link.break())
    case "ServerCrash":
      servers[fault.server]!.crash(fault.millis, fault.loss)
      if (fault.noticed) between({ process: undefined, server: fault.server }).forEach((link) => link.break())
      return
    case "ServerPause":
      return servers[fault.server]!.pause(fault.millis)
    case "ServerClock":
      return servers[fault.server]!.setClock(fault.byMillis)
    case "Crash": {
      const { process } = clients[fault.process]!
      world.log(() => `${process.name} crashes`)
      process.crash()
      return links[fault.process]!.forEach((link) => link.abandon())
    }
    case "Block":
      return clients[fault.process]!.process.blockAtRead(fault.reads, fault.millis)
    case "Stop":
      return clients[fault.process]!.process.stop(fault.millis)
    case "Suspend":
      return clients[fault.process]!.process.suspend(fault.millis)
    case "SetWall":
      return clients[fault.process]!.process.setWall(fault.byMillis)
  }
}
