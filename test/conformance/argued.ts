/**
 * Where SQLite's own tests see something else on a mount than on a plain directory, and why that is right. What is not
 * here is a mistake of ours, or has not been looked at.
 */
import type { Difference } from "./report.ts"

export interface Argument {
  /** The name of the file of tests, or of the program. */
  readonly subject: string | RegExp
  /** All names of tests that it covers. */
  readonly tests: RegExp
  readonly why: string
}

export const ARGUED: readonly Argument[] = []

/** Why the difference is right, if somebody has argued that. */
export function argumentFor(
  subject: string,
  { name }: Difference,
  argued: readonly Argument[] = ARGUED,
): Argument | undefined {
  return argued.find((argument) => {
    const isIt =
      typeof argument.subject === "string"
        ? argument.subject === subject
        : argument.subject.test(subject)
    return isIt && argument.tests.test(name)
  })
}
