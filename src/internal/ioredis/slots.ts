/**
 * Which server of a cluster has a key, as far as its client knows.
 */
import { type Cluster, Command } from "ioredis"

/** The address of the master that has the key; `undefined` if the client does not know the slots yet. */
export const masterOf = (cluster: Cluster, key: string): string | undefined =>
  cluster.slots[new Command("get", [key]).getSlot()]?.[0]
