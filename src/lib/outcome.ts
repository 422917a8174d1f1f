/** What one thread tells another that has asked for something: an error loses its class on the way. */
import { type ErrorCode, LitefsError, messageOf } from "./errors.ts"

export type Outcome<T> =
  | { readonly kind: "done"; readonly value: T }
  | { readonly kind: "failed"; readonly code: ErrorCode; readonly message: string }

export function outcomeOf<T>(act: () => T): Outcome<T> {
  try {
    return { kind: "done", value: act() }
  } catch (error) {
    const code = error instanceof LitefsError ? error.code : "io"
    return { kind: "failed", code, message: messageOf(error) }
  }
}

/** Throws what was thrown there. */
export function resultOf<T>(outcome: Outcome<T>): T {
  if (outcome.kind === "done") return outcome.value
  throw new LitefsError(outcome.code, outcome.message)
}
