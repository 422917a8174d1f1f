/** Children of this process that nobody here has started: PID 1 gets them when their parents end. */

import { plainCall } from "../call.ts"
import { Errno } from "../errno.ts"
import { libc } from "../libc.ts"
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
  const call = () => libc.waitid(kind, id, siginfo.address, WEXITED | WNOHANG | options)
  const error = plainCall("waitid", () => "wait for a child", call, Errno.ECHILD)
  return error === 0 ? view.getInt32(16, true) : 0
}
