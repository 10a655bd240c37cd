/**
 * An intrusive circular doubly linked list, with O(1) removal and no lookup.
 *
 * A `Map` or `Set` would work too, but under constant insertion and deletion it
 * discards backing tables that each point to their successor: once one of them is
 * promoted to the old generation, it keeps every later table and its entries alive.
 */

/** A node that is linked only to itself until it is inserted. */
export class LinkedNode {
  previous: this = this
  next: this = this

  insertBefore(next: this): void {
    this.previous = next.previous
    this.next = next
    this.previous.next = this
    next.previous = this
  }

  /** Does nothing if the node is not in a list. */
  unlink(): void {
    this.previous.next = this.next
    this.next.previous = this.previous
    this.previous = this.next = this
  }
}
