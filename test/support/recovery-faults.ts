/**
 * Every system call of a start and a stop fails in turn, or the process is killed there. After each, a start without
 * a fault must find what there was.
 *
 * A process that is killed makes no more system calls, so in a test it is one whose calls all throw from there on:
 * nothing that handles the exception can change a file any more.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Errno } from "../../src/sys/errno.ts"
import { setFaults } from "../../src/sys/faults.ts"
import type { DirectoryImage } from "./directory-image.ts"
import { RecordedLog } from "./recorded-log.ts"
import { RecoveredNode } from "./recovered-node.ts"

export const RECOVERY_FAULTS = ["EIO once", "EIO", "ENOSPC once", "ENOSPC", "kill"] as const
export type RecoveryFault = (typeof RECOVERY_FAULTS)[number]

/** Where a sync costs nothing, if there is such a place. */
const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : tmpdir()

class Killed extends Error {}

/** The names of the calls that a start and a stop make on such a directory, in order. */
export function callsOf(image: DirectoryImage): string[] {
  const scratch = mkdtempSync(join(MEMORY, "litefs-faults-"))
  const calls: string[] = []
  const root = join(scratch, "root")
  image.writeTo(root)
  setFaults({ check: (op) => calls.push(op) && 0 })
  try {
    RecoveredNode.start(root, new RecordedLog().logger).stop()
  } finally {
    setFaults(undefined)
    rmSync(scratch, { recursive: true })
  }
  return calls
}

/** Starts and stops a node, whose call number `at`, from 0, has the fault. */
export function startWithFault(root: string, at: number, fault: RecoveryFault): void {
  const [what, isOnce] = fault.split(" ")
  let count = 0
  setFaults({
    check() {
      const isHit = isOnce === undefined ? count >= at : count === at
      count += 1
      if (!isHit) return 0
      if (what === "kill") throw new Killed("the process is dead")
      return Errno[what as "EIO" | "ENOSPC"]
    },
  })
  try {
    RecoveredNode.start(root, new RecordedLog().logger).stop()
  } catch {
    // It did not start, or did not stop in order.
  } finally {
    setFaults(undefined)
  }
}

/** Calls `check` with a directory that is as `image` was, and has been through one fault. Returns how many. */
export function sweepRecovery(
  image: DirectoryImage,
  faults: Iterable<readonly [at: number, fault: RecoveryFault]>,
  check: (root: string) => void,
): number {
  const scratch = mkdtempSync(join(MEMORY, "litefs-faults-"))
  let done = 0
  try {
    for (const [at, fault] of faults) {
      const root = join(scratch, `${done}`)
      image.writeTo(root)
      startWithFault(root, at, fault)
      try {
        check(root)
      } catch (error) {
        const text = error instanceof Error ? error.stack : String(error)
        throw new Error(`${fault} at call ${at}: ${text}`)
      }
      rmSync(root, { recursive: true })
      done += 1
    }
  } finally {
    rmSync(scratch, { recursive: true })
  }
  return done
}
