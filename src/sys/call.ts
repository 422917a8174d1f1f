import { Errno, SysError } from "./errno.ts"
import { faults } from "./faults.ts"
import { errno } from "./libc.ts"

/**
 * Makes a call of libc, which returns a negative number when it fails. `op` is its name in fault tests, and `doing` says
 * what failed. Returns 0, or the errno if that is one of `expected`; throws SysError for any other. EINTR is retried.
 */
export function systemCall(
  op: string,
  doing: () => string,
  call: () => number,
  ...expected: readonly number[]
): number {
  checkFault(op, doing)
  return plainCall(op, doing, call, ...expected)
}

/** The same for a call that touches no data: fault tests leave it alone. */
export function plainCall(
  op: string,
  doing: () => string,
  call: () => number,
  ...expected: readonly number[]
): number {
  for (;;) {
    const error = call() < 0 ? errno() : 0
    if (error === 0 || expected.includes(error)) return error
    if (error !== Errno.EINTR) throw new SysError(error, op, doing())
  }
}

/** Throws where a fault test makes the call of this name fail. */
export function checkFault(op: string, doing: () => string): void {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, doing())
}
