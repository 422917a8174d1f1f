export interface Argument { readonly subjects: readonly string[]; readonly tests: RegExp; readonly why: string }
import type { Difference } from "./report.ts"
export const ARGUED: readonly Argument[] = []
export function argumentFor(subject: string, { name }: Difference, argued: readonly Argument[] = ARGUED): Argument | undefined {
  return argued.find(({ subjects, tests }) => subjects.includes(subject) && tests.test(name))
}
