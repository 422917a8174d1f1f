/** Children of this process that nobody here has started: PID 1 gets them when their parents end. */

import { Errno, SysError } from "../errno.ts"
import { errno, libc } from "../libc.ts"
import { allocate } from "../memory.ts"

const P_ALL = 0
const P_PID = 1
const WNOHANG = 1
const WEXITED = 4
const WNOWAIT = 0x1000000

/** siginfo_t: si_signo i32@0 si_errno i32@4 si_code i32@8 si_pid i32@16, of 128 bytes. */
const siginfo = allocate(4096)
const view = new DataView(siginfo.bytes.buffer, siginfo.bytes.byteOffset, 128)

/**
 * Takes the exit codes of children that have ended, up to the first one of `own`: whoever started that one waits for
 * it, and would never hear of its end.
 */
export function reapOrphans(own: ReadonlySet<number>): void {
  for (;;) {
    const pid = firstEnded(P_ALL, 0, WNOWAIT)
    if (pid === 0 || own.has(pid)) return
    firstEnded(P_PID, pid, 0)
  }
}

/** 0 when there is none. */
function firstEnded(kind: number, id: number, options: number): number {
  view.setInt32(16, 0, true)
  const failed = libc.waitid(kind, id, siginfo.address, WEXITED | WNOHANG | options) < 0
  const error = failed ? errno() : 0
  if (error === 0) return view.getInt32(16, true)
  if (error === Errno.ECHILD) return 0
  throw new SysError(error, "waitid", "wait for a child")
}
