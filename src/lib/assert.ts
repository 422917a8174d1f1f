/** Throws when an invariant of our own is broken. For conditions of the world, throw a LitefsError instead. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message)
}

/** For the `default` arm of a switch over a union: the compiler checks that no case reaches it. */
export function unreachable(value: never): never {
  throw new AssertionError(`Cannot continue: ${JSON.stringify(value)} is not a case of its type`)
}

/** The value, which the caller knows to exist. */
export function must<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined) throw new AssertionError(`Cannot continue: no ${what}`)
  return value
}

export class AssertionError extends Error {
  override readonly name = "AssertionError"
}
