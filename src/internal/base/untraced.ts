/**
 * Errors without a stack trace, which would show ten lines of how votes are counted and nothing of
 * the caller, and would cost several times as much as the rest of the error.
 */

/** The same class, but its instances are built without a stack trace. */
export const untraced = <Class extends abstract new(...args: never) => Error>(base: Class): Class => {
  const make = function(this: unknown, ...args: ReadonlyArray<unknown>): unknown {
    const limit = Error.stackTraceLimit
    // If `Error` is frozen, this does nothing.
    Reflect.set(Error, "stackTraceLimit", 0)
    try {
      return Reflect.construct(base as unknown as new() => Error, args, new.target)
    } finally {
      Reflect.set(Error, "stackTraceLimit", limit)
    }
  }
  return Object.setPrototypeOf(Object.assign(make, { prototype: base.prototype }), base)
}
