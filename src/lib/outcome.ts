/** What one thread answers to another's request. An error loses its class on the way. */
import { type ErrorCode, LitefsError, messageOf } from "./errors.ts"

export type Outcome<T> =
  | { readonly kind: "done"; readonly value: T }
  | { readonly kind: "failed"; readonly code: ErrorCode; readonly message: string }

export function done<T>(value: T): Outcome<T> {
  return { kind: "done", value }
}

export function failed(error: unknown): Outcome<never> {
  const code = error instanceof LitefsError ? error.code : "io"
  return { kind: "failed", code, message: messageOf(error) }
}

export function outcomeOf<T>(act: () => T): Outcome<T> {
  try {
    return done(act())
  } catch (error) {
    return failed(error)
  }
}

/** Returns the value, or throws what the other thread threw. */
export function resultOf<T>(outcome: Outcome<T>): T {
  if (outcome.kind === "done") return outcome.value
  throw new LitefsError(outcome.code, outcome.message)
}
