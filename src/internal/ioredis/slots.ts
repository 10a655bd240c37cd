/**
 * Which server of a cluster has a key, as far as its client knows.
 */
import { type Cluster, Command, type Redis } from "ioredis"

/** The address of the master that has the key; `undefined` if the client does not know the slots yet. */
export const masterOf = (cluster: Cluster, key: string): string | undefined =>
  cluster.slots[new Command("get", [key]).getSlot()]?.[0]

/** The client of the master that has the key. The cluster is asked for its slots if it is not known. */
export const masterClientOf = async (cluster: Cluster, key: string): Promise<Redis> => {
  const find = () => {
    const address = masterOf(cluster, key)
    return cluster.nodes("master").find(({ options }) => `${options.host}:${options.port}` === address)
  }
  // A cluster knows the slots once it is connected, for which a command waits.
  if (cluster.slots.length === 0) await cluster.cluster("KEYSLOT", key)
  const known = find()
  if (known !== undefined) return known
  await readSlots(cluster)
  const found = find()
  if (found === undefined) throw new Error("the cluster does not know which server has the key")
  return found
}

/** Asks the cluster for its slots; whether it has answered shows in them. */
export const readSlots = (cluster: Cluster): Promise<void> =>
  new Promise((resolve) => cluster.refreshSlotsCache(() => resolve()))

/** Whether the server of the address has any slots. */
export const hasSlots = (cluster: Cluster, address: string): boolean =>
  cluster.slots.some((servers) => servers?.[0] === address)
