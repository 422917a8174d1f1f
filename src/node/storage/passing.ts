/**
 * Whether writers of a WAL may pass the daemon without being asked for by name (`--capture auto`).
 *
 * The kernel has to let them (mount/bypass.ts asks it, once there is a mount), and this daemon, or the next one after a
 * kill, has to find and reach them (sys/process/stale-handles.ts). A writer that cannot be found goes through the daemon,
 * but not while others pass: where there may be such writers, nobody passes.
 */
import { readFileSync, readlinkSync } from "node:fs"
import { hasCapability, type Rights, rightsOf } from "../../sys/process/capabilities.ts"
import { canCopyDescriptors } from "../../sys/process/stale-handles.ts"

export interface Machine {
  readonly rights: Rights
  /** kernel.yama.ptrace_scope; undefined where there is none. */
  readonly ptraceScope: number | undefined
  /** pidfd_getfd(2) is there, and no filter forbids it. */
  readonly canCopyDescriptors: boolean
  /** Every process of the machine can be seen. */
  readonly seesAll: boolean
  /** Other mount namespaces get the mount: whoever shares the directory that it is in. */
  readonly isShared: boolean
}

const NOBODY_TRACES = 3

/** Why nobody passes; undefined when they may. */
export function obstacleOf(machine: Machine): string | undefined {
  const { rights, ptraceScope, seesAll, isShared } = machine
  if (!hasCapability(rights, "SYS_ADMIN")) return "this process lacks CAP_SYS_ADMIN"
  if (!hasCapability(rights, "SYS_PTRACE")) {
    return "this process lacks CAP_SYS_PTRACE, and could not reach the writers after a kill"
  }
  if (ptraceScope === NOBODY_TRACES) {
    return "kernel.yama.ptrace_scope is 3, and nobody could reach the writers after a kill"
  }
  if (!machine.canCopyDescriptors) {
    return "this process may not use pidfd_getfd(2), and could not reach the writers after a kill"
  }
  if (!seesAll && isShared) {
    return "other containers may share the mount, and their processes cannot be seen from this PID namespace"
  }
  return undefined
}

export function thisMachine(isShared: boolean): Machine {
  return {
    rights: rightsOf("self") ?? { uid: -1, permitted: 0n, effective: 0n },
    ptraceScope: ptraceScope(),
    canCopyDescriptors: canCopyDescriptors(),
    seesAll: isInitialPidNamespace(),
    isShared,
  }
}

function ptraceScope(): number | undefined {
  try {
    return Number(readFileSync("/proc/sys/kernel/yama/ptrace_scope", "utf8"))
  } catch {
    return undefined
  }
}

/** Linux gives it this number: PROC_PID_INIT_INO. */
const INITIAL = "pid:[4026531836]"

function isInitialPidNamespace(): boolean {
  try {
    return readlinkSync("/proc/self/ns/pid") === INITIAL
  } catch {
    return false
  }
}
