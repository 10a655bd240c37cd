/** Clients whose commands reach the servers at different times. */
import { Redis } from "ioredis"
import type { RedisServer } from "../../support/servers/RedisServers.ts"

/** A client each of whose commands is held up for a random time, in order. */
export const delayed = ({ host, port }: RedisServer, longestMillis: number): Redis => {
  const client = new Redis(port, host)
  const send = client.sendCommand.bind(client)
  let last = 0
  client.sendCommand = (command, stream) => {
    last = Math.max(last, performance.now() + Math.random() * longestMillis)
    setTimeout(() => send(command, stream), Math.max(0, last - performance.now()))
    return command.promise
  }
  return client
}
