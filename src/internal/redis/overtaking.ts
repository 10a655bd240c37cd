/**
 * Whether commands of a connection that is gone may be executed after later ones.
 *
 * A server eventually reads the rest of a broken connection, perhaps after commands that
 * were sent on the next one. Observed with a server that was stopped and continued: of
 * 1,000 SETs, each followed by its DEL, 315 keys were left, since the server executed what
 * it had read from the old connection and never read the rest.
 */
import { nowMillis } from "./realTime.ts"

/** For how long after the first reply on a new connection the server may still execute what it had read from the old one. */
const overtakingMillis = 60_000

export class Overtaking {
  #until = 0
  /** Commands sent later were sent on the new connection. */
  #begunAt = 0

  begin(): void {
    this.#until = Infinity
    this.#begunAt = nowMillis()
  }

  /** Records a reply on a new connection, which shows that the server reads what it has received. */
  replied(): void {
    if (this.#until === Infinity) this.#until = nowMillis() + overtakingMillis
  }

  isPossible(ageMillis: number): boolean {
    if (this.#until === 0) return false
    const now = nowMillis()
    return now < this.#until && now - ageMillis <= this.#begunAt
  }
}
