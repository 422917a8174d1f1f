/**
 * Faults on demand: every system call of the daemon that touches data has a name, and a test can make the
 * n-th call of a name fail with an errno, or stop the process there.
 *
 * `LITEFS_FAULTS="ltx:fsync#3=ENOSPC,wal:write#10=kill"`. Without it, `faults` is undefined and a call costs
 * one comparison.
 */
import { Errno } from "./errno.ts"

interface Fault {
  readonly op: string
  readonly nth: number
  readonly action: "kill" | number // an errno
}

class Faults {
  readonly #faults: Fault[]
  readonly #counts = new Map<string, number>()

  constructor(faults: Fault[]) {
    this.#faults = faults
  }

  /** The errno the call is to fail with, or 0 to let it through. Does not return when it is to stop here. */
  check(op: string): number {
    const nth = (this.#counts.get(op) ?? 0) + 1
    this.#counts.set(op, nth)
    for (const fault of this.#faults) {
      if (fault.nth !== nth || (fault.op !== op && fault.op !== "*")) continue
      if (fault.action !== "kill") return fault.action
      process.kill(process.pid, "SIGKILL")
    }
    return 0
  }
}

function parseFaults(text: string): Fault[] {
  return text.split(",").map((part) => {
    const match = /^([\w:*-]+)#(\d+)=(\w+)$/.exec(part.trim())
    const action = match?.[3] === "kill" ? "kill" : Errno[match?.[3] as keyof typeof Errno]
    if (match === null || action === undefined) {
      throw new SyntaxError(
        `Cannot parse LITEFS_FAULTS: "${part}", must be OP#N=ERRNO or OP#N=kill`,
      )
    }
    return { op: match[1] as string, nth: Number(match[2]), action }
  })
}

const text = process.env.LITEFS_FAULTS
export const faults = text === undefined || text === "" ? undefined : new Faults(parseFaults(text))
