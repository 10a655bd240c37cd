/**
 * Redis servers as child processes of the test worker.
 *
 * No server outlives its worker: closing the scope kills it, so does the exit
 * of the worker, and where `setpriv` is there the kernel does it for a worker
 * that was killed itself.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Instance, InstanceOptions, Reservation } from "./Instance.ts"
import { call, eventually, GiveUp, onFreePort, serverArgs, untilRefused } from "./Instance.ts"
import type { ProgramSource } from "./ServerSource.ts"

const alive = new Map<ChildProcess, Reservation>()

process.on("exit", () => {
  for (const [child, reservation] of alive) {
    child.kill("SIGKILL")
    reservation.release()
  }
})

export const startProcess = (source: ProgramSource, options: InstanceOptions): Promise<Instance> =>
  onFreePort(async (reservation) => {
    const instance = makeInstance(source, options, reservation)
    try {
      await instance.start()
      return instance
    } catch (cause) {
      await instance.kill()
      throw cause
    }
  })

const makeInstance = (source: ProgramSource, options: InstanceOptions, reservation: Reservation): Instance => {
  const address = { host: "127.0.0.1", port: reservation.port, password: options.password }
  const sentinel = join(reservation.directory, "sentinel.conf")
  const args = [
    ...(options.isSentinel === true ? [sentinel, "--sentinel"] : []),
    "--bind",
    address.host,
    "--loglevel",
    "warning",
    ...serverArgs(address.port, options)
  ]
  const command = source.setpriv
    ? ["setpriv", "--pdeathsig", "KILL", source.program, ...args] as const
    : [source.program, ...args] as const
  const log = join(reservation.directory, "server.log")
  let running: { readonly child: ChildProcess; readonly exited: Promise<void> } | undefined

  const signal = (name: NodeJS.Signals) => running?.child.kill(name)

  const start = async () => {
    if (options.isSentinel === true) writeFileSync(sentinel, "")
    const output = openSync(log, "a")
    const child = spawn(command[0], command.slice(1), {
      cwd: reservation.directory,
      stdio: ["ignore", output, output]
    })
    closeSync(output)
    alive.set(child, reservation)
    const self = {
      child,
      exited: new Promise<void>((resolve) => {
        const gone = () => {
          alive.delete(child)
          if (running === self) running = undefined
          resolve()
        }
        child.once("exit", gone)
        child.once("error", gone)
      })
    }
    running = self
    await eventually(`a server answers on port ${address.port}`, async () => {
      if (running !== self) throw new GiveUp(`It ended at once:\n${readFileSync(log, "utf8")}`)
      const info = await call(address, ["INFO", "server"])
      // Somebody else's server may have been faster in taking the port.
      if (!String(info).includes(`process_id:${child.pid}\r\n`)) throw new Error("Another process answers")
    })
  }

  const kill = async () => {
    if (running === undefined) return
    const { exited } = running
    // Ends a frozen process as well.
    signal("SIGKILL")
    await exited
    await untilRefused(address)
  }

  return {
    ...address,
    freeze: async () => {
      if (running === undefined) throw new Error(`The server on port ${address.port} is dead and cannot be stopped`)
      signal("SIGSTOP")
    },
    thaw: async () => {
      signal("SIGCONT")
    },
    kill,
    start,
    close: async () => {
      const exited = running?.exited
      signal("SIGKILL")
      await exited
      reservation.release()
    }
  }
}
