/**
 * Things that stand in a ring, and are taken out of it more often than looked for.
 *
 * A `Map` or `Set` would do, but where entries come and go all the time it leaves
 * behind the tables it has outgrown, each of which refers to the next: once one of
 * them is old, the collector keeps alive all that was in those after it.
 */

/** A place in a ring, alone at first. */
export class LinkedNode {
  previous: this = this
  next: this = this

  insertBefore(next: this): void {
    this.previous = next.previous
    this.next = next
    this.previous.next = this
    next.previous = this
  }

  /** Does nothing to one that has been taken out. */
  unlink(): void {
    this.previous.next = this.next
    this.next.previous = this.previous
    this.previous = this.next = this
  }
}
