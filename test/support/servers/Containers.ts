/**
 * Redis servers as containers, by testcontainers, whose reaper removes what a
 * killed test worker leaves behind.
 */
import { GenericContainer, getContainerRuntimeClient, Wait } from "testcontainers"
import type { StartedTestContainer } from "testcontainers"
import type { Address, Instance, InstanceOptions, Reservation } from "./Instance.ts"
import { call, eventually, onFreePort, reservePort, serverArgs, untilRefused } from "./Instance.ts"
import type { ContainerSource } from "./ServerSource.ts"

export const startContainer = (source: ContainerSource, options: InstanceOptions): Promise<Instance> =>
  onFreePort(async (reservation) => {
    // A fixed host port, since a mapped one changes when the container starts again.
    const started = await new GenericContainer(source.image)
      .withCommand([source.program, ...serverArgs(reservation.port, options)])
      .withExposedPorts({ container: reservation.port, host: reservation.port })
      .withWaitStrategy(Wait.forLogMessage("Ready to accept connections"))
      .start()
    return makeInstance(started, options, reservation)
  })

const makeInstance = async (
  started: StartedTestContainer,
  options: InstanceOptions,
  reservation: Reservation
): Promise<Instance> => {
  const client = await getContainerRuntimeClient()
  const container = client.container.getById(started.getId())
  const address = { host: started.getHost(), port: reservation.port, password: options.password }

  const thaw = async () => {
    if ((await container.inspect()).State.Paused) await container.unpause()
  }

  const kill = async () => {
    if (!(await container.inspect()).State.Running) return
    // Some runtimes kill a paused container, some refuse to.
    await container.kill({ signal: "SIGKILL" }).catch(async () => {
      await thaw()
      await container.kill({ signal: "SIGKILL" })
    })
    await container.wait({ condition: "not-running" })
    await untilRefused(address)
  }

  return {
    ...address,
    freeze: async () => {
      await container.pause()
    },
    thaw,
    kill,
    start: async () => {
      await container.start()
      await untilAnswering(address)
    },
    close: async () => {
      await thaw()
      await started.stop({ timeout: 0 })
      reservation.release()
    }
  }
}

const untilAnswering = (address: Address): Promise<unknown> =>
  // The runtime's port forwarding may accept a connection before the server does, and drop or hold it.
  eventually(`a server answers on port ${address.port}`, () => call(address, ["PING"], AbortSignal.timeout(1_000)))

/**
 * Servers that reach each other and are reached by the tests at one and the
 * same address, as the nodes of a Redis Cluster must be: all in one container,
 * on ports that are the same inside and outside, known to clients by the name of
 * the container's host and to each other by 127.0.0.1.
 */
export const startSharedContainer = async (
  source: ContainerSource,
  count: number,
  options: InstanceOptions
): Promise<{ readonly addresses: ReadonlyArray<Address>; readonly close: () => Promise<void> }> => {
  const client = await getContainerRuntimeClient()
  const host = client.info.containerRuntime.host
  const reservations = await Promise.all(Array.from({ length: count }, reservePort))
  const release = () => reservations.forEach((reservation) => reservation.release())
  const servers = reservations.map(({ port }) =>
    [
      source.program,
      ...serverArgs(port, options),
      "--cluster-config-file",
      `nodes-${port}.conf`,
      "--cluster-announce-hostname",
      host,
      "--cluster-preferred-endpoint-type",
      "hostname"
    ].map((argument) => `'${argument}'`).join(" ")
  )
  try {
    const started = await new GenericContainer(source.image)
      .withCommand(["sh", "-c", `${servers.join(" & ")} & wait`])
      .withExposedPorts(...reservations.map(({ port }) => ({ container: port, host: port })))
      .withWaitStrategy(Wait.forLogMessage("Ready to accept connections", count))
      .start()
    const addresses = reservations.map(({ port }) => ({ host, port }))
    await Promise.all(addresses.map(untilAnswering))
    return {
      addresses,
      close: async () => {
        await started.stop({ timeout: 0 })
        release()
      }
    }
  } catch (cause) {
    release()
    throw cause
  }
}
