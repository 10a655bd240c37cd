/**
 * A world in which everything that happens next is a choice: which message arrives,
 * which is lost, which process crashes. Nothing is random, and time goes on only when
 * there is nothing else to do.
 *
 * Messages of one channel arrive in order. Two histories that differ only in the
 * order of things that have nothing to do with each other lead to the same state:
 * what a process or server does depends only on what it has received, and when.
 */
import type { Process } from "./process.ts"

/** A message on its way. */
export interface Message {
  readonly channel: Channel
  readonly what: string
  /** The length of the chain of messages that led to it, since time last went by. */
  readonly depth: number
  readonly sentAt: number
  readonly arrive: () => void
}

/** One direction of a connection: its messages arrive in order. */
export class Channel {
  readonly name: string
  readonly index: number
  /** A process that receives nothing while it stands still. */
  readonly receiver: Process | undefined
  /** How long a loss may have consequences. */
  readonly lossMillis: number
  readonly messages: Array<Message> = []
  /** Nothing arrives before that time, or before everything else is done at its time. */
  heldUntil = 0
  isLast = false

  constructor(name: string, index: number, receiver: Process | undefined, lossMillis: number) {
    this.name = name
    this.index = index
    this.receiver = receiver
    this.lossMillis = lossMillis
  }

  /** Nothing arrives before. */
  get opensAt(): number {
    return Math.max(this.heldUntil, this.receiver?.frozenUntil ?? 0)
  }
}

/** A silent node is probed at least this often, which shows that it answers again. */
const probeMillis = 1100

/** Messages that only arrive in another order are none. */
export const isFault = ({ _tag }: Choice): boolean => _tag !== "First" && _tag !== "Last"

interface Timer {
  readonly at: number
  readonly order: number
  readonly process: Process
  run: (() => void) | undefined
}

/** What may happen instead of the next message's arrival. */
export type Choice =
  /** The next message of another channel arrives first. */
  | { readonly _tag: "First"; readonly channel: number }
  /** Its channel waits until all others are empty. */
  | { readonly _tag: "Last" }
  /** Its channel stands still for so long. */
  | { readonly _tag: "Late"; readonly millis: number }
  | { readonly _tag: "Lost" }
  | { readonly _tag: "Crash"; readonly process: number }
  /** What the process does now is interrupted. */
  | { readonly _tag: "Interrupt"; readonly process: number }
  /** The process stands still for so long. */
  | { readonly _tag: "Freeze"; readonly process: number; readonly millis: number }

export class World {
  now = 0
  faults = 0
  /** The time of the last fault, or when its consequences are over. */
  quietFrom = 0
  /** Those that may crash. */
  readonly processes: Array<Process> = []
  readonly servers: Array<Process> = []
  readonly channels: Array<Channel> = []
  /** What each process and server has received. */
  readonly #seen = new Map<string, Hash>()
  readonly #timers: Array<Timer> = []
  #order = 0
  /** The depth of the message that is being handled. */
  #depth = 0
  /** Losses and standstills, which no one has received. */
  readonly #deviations = new Hash()
  readonly timeline: Array<string> | undefined

  constructor(isRecorded: boolean) {
    this.timeline = isRecorded ? [] : undefined
  }

  channel(name: string, receiver?: Process, lossMillis = 0): Channel {
    const channel = new Channel(name, this.channels.length, receiver, lossMillis)
    this.channels.push(channel)
    return channel
  }

  send(channel: Channel, what: string, arrive: () => void): void {
    channel.messages.push({ channel, what, depth: this.#depth + 1, sentAt: this.now, arrive })
  }

  timer(process: Process, at: number, run: () => void): () => void {
    const timer: Timer = { at, order: this.#order++, process, run }
    this.#timers.push(timer)
    return () => {
      timer.run = undefined
    }
  }

  /** The message that arrives next if nobody chooses otherwise: the one that is under way for the longest. */
  get next(): Message | undefined {
    let next: Message | undefined
    for (const last of [false, true]) {
      for (const channel of this.channels) {
        if (channel.isLast !== last || !this.#isOpen(channel)) continue
        const message = channel.messages[0]!
        if (next === undefined || isEarlier(message, next)) next = message
      }
      if (next !== undefined) return next
    }
    return undefined
  }

  /** The channels in which a message could arrive now. */
  get open(): ReadonlyArray<Channel> {
    return this.channels.filter((channel) => this.#isOpen(channel))
  }

  #isOpen(channel: Channel): boolean {
    return channel.messages.length > 0 && channel.opensAt <= this.now
  }

  /**
   * One step: what was chosen, or else a timer that is due, the next message's arrival, or a later timer. False at
   * the end.
   */
  step(choice: Choice | undefined): boolean {
    if (choice !== undefined) {
      this.#choose(choice)
      return true
    }
    const { next } = this
    const timer = this.#nextTimer()
    if (next === undefined || (timer !== undefined && dueAt(timer) <= this.now)) return this.#pass(timer)
    this.#arrive(next)
    return true
  }

  /** Whether a message arrives next if nobody chooses otherwise. */
  get isArrival(): boolean {
    const timer = this.#nextTimer()
    return this.next !== undefined && (timer === undefined || dueAt(timer) > this.now)
  }

  #choose(choice: Choice): void {
    const next = this.next!
    if (isFault(choice)) {
      this.faults++
      this.quietFrom = Math.max(this.quietFrom, this.now)
    }
    switch (choice._tag) {
      case "First":
        return this.#arrive(this.channels[choice.channel]!.messages[0]!)
      case "Last":
        next.channel.isLast = true
        return this.#deviate(`${next.channel.name} comes last`)
      case "Late":
        next.channel.heldUntil = this.now + choice.millis
        this.quietFrom = Math.max(this.quietFrom, next.channel.heldUntil + probeMillis)
        return this.#deviate(`${next.channel.name} stands still for ${choice.millis} ms`)
      case "Lost":
        next.channel.messages.shift()
        this.quietFrom = Math.max(this.quietFrom, this.now + next.channel.lossMillis)
        return this.#deviate(`${next.channel.name}: ${next.what} is lost`)
      case "Crash": {
        const process = this.processes[choice.process]!
        this.#deviate(`${process.name} crashes`)
        return process.crash()
      }
      case "Freeze": {
        const process = this.processes[choice.process]!
        process.frozenUntil = this.now + choice.millis
        this.quietFrom = Math.max(this.quietFrom, process.frozenUntil)
        return this.#deviate(`${process.name} stands still for ${choice.millis} ms`)
      }
      case "Interrupt": {
        const process = this.processes[choice.process]!
        this.#deviate(`${process.name} is interrupted`)
        this.#depth = 0
        this.comesIn(process.name, "an interruption")
        return process.turn(process.interrupt!)
      }
    }
  }

  #deviate(what: string): void {
    this.log(what)
    this.#deviations.addText(`${what} ${this.now}`)
  }

  #arrive(message: Message): void {
    const { channel, depth, what } = message
    channel.messages.shift()
    if (channel.messages.length === 0) channel.isLast = false
    this.log(`${channel.name}: ${what}`)
    this.#depth = depth
    message.arrive()
  }

  /** Records what a process or server has received. */
  comesIn(to: string, what: string): void {
    let seen = this.#seen.get(to)
    if (seen === undefined) this.#seen.set(to, seen = new Hash())
    seen.addText(`${what} ${this.now}`)
  }

  hasTimers(process: Process): boolean {
    return this.#timers.some((timer) => timer.process === process && timer.run !== undefined)
  }

  #nextTimer(): Timer | undefined {
    let next: Timer | undefined
    for (let index = 0; index < this.#timers.length; index++) {
      const timer = this.#timers[index]!
      if (timer.run === undefined || timer.process.isDead) this.#timers.splice(index--, 1)
      else if (next === undefined || isSooner(timer, next)) next = timer
    }
    return next
  }

  /** Time goes by until the timer fires, or a channel goes on. */
  #pass(timer: Timer | undefined): boolean {
    let opensAt = Number.POSITIVE_INFINITY
    for (const channel of this.channels) {
      if (channel.messages.length > 0 && channel.opensAt > this.now) opensAt = Math.min(opensAt, channel.opensAt)
    }
    this.#depth = 0
    if (timer === undefined || dueAt(timer) > opensAt) {
      if (opensAt === Number.POSITIVE_INFINITY) return false
      this.now = opensAt
      return true
    }
    this.now = Math.max(this.now, dueAt(timer))
    const { process, run } = timer
    timer.run = undefined
    this.log(`${process.name}: a timer`)
    this.comesIn(process.name, "a timer")
    process.turn(run!)
    return true
  }

  log(line: string): void {
    this.timeline?.push(`${this.now.toFixed(1).padStart(8)}  ${line}`)
  }

  /** All that decides what can happen from here on. */
  get fingerprint(): number {
    const hash = new Hash()
    hash.add(this.#deviations)
    hash.addText(`${this.now}`)
    for (const { frozenUntil, isDead, name } of [...this.processes, ...this.servers]) {
      hash.addText(isDead ? "dead" : `${Math.max(frozenUntil, this.now)}`)
      hash.add(this.#seen.get(name) ?? nothing)
    }
    return hash.value
  }
}

/** Sixty-four bits, of which a number has room for 53. */
class Hash {
  #low = 0x2545f491
  #high = 0x1b873593

  get value(): number {
    return (this.#low >>> 0) * 0x200000 + (this.#high >>> 11)
  }

  add(other: Hash): void {
    this.#mix(other.#low)
    this.#mix(other.#high)
  }

  addText(text: string): void {
    for (let index = 0; index < text.length; index++) this.#mix(text.charCodeAt(index))
    this.#mix(text.length)
  }

  #mix(value: number): void {
    this.#low = Math.imul(this.#low ^ value, 0x9e3779b1)
    this.#low ^= this.#low >>> 15
    this.#high = Math.imul(this.#high ^ value ^ this.#low, 0x85ebca6b)
    this.#high ^= this.#high >>> 13
  }
}

const nothing = new Hash()

const dueAt = ({ at, process }: Timer): number => Math.max(at, process.frozenUntil)

const isSooner = (a: Timer, b: Timer): boolean =>
  dueAt(a) !== dueAt(b) ? dueAt(a) < dueAt(b) : a.at !== b.at ? a.at < b.at : a.process !== b.process
    ? a.process.index < b.process.index
    : a.order < b.order

const isEarlier = (a: Message, b: Message): boolean =>
  a.sentAt !== b.sentAt
    ? a.sentAt < b.sentAt
    : a.depth !== b.depth
    ? a.depth < b.depth
    : a.channel.index < b.channel.index
