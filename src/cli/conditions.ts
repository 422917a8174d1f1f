import { LitefsError, messageOf } from "../lib/errors.ts"
import { SysError } from "../sys/errno.ts"

/** What the system refuses is no bug: one line tells it. */
export async function asConditions<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    const isOfSystem = error instanceof SysError || (error instanceof Error && "syscall" in error)
    if (isOfSystem) throw new LitefsError("io", messageOf(error), { cause: error })
    throw error
  }
}
