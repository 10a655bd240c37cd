/**
 * How often a service asks the nodes for a name while nothing wakes it: as often as one waiter would, however many
 * wait. The head asks on its own schedule, and the others have it ask if theirs is faster.
 */

interface Queue {
  /** The waiter that asks the nodes. */
  readonly head: { readonly dueAt: number } | undefined
  /** When a fiber of this service last asked the nodes, on the monotonic clock. */
  readonly lastAttemptAt: number
}

/**
 * Whether the head has to ask for another waiter, whose pause began at `since` and has ended: nobody has asked in
 * that pause, nor will the head within half as long again. Pauses differ by as much as that if they are jittered.
 */
export const isHeadTooSlow = ({ head, lastAttemptAt }: Queue, since: number, now: number): boolean =>
  since >= lastAttemptAt && head !== undefined && head.dueAt > now + (now - since) / 2
