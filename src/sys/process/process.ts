import { readdirSync, readFileSync, readlinkSync } from "node:fs"

/** The process of a thread, by the kernel's ids; undefined when the thread is gone. */
export function processOfThread(threadId: number): number | undefined {
  try {
    const match = /^Tgid:\s*(\d+)$/m.exec(readFileSync(`/proc/${threadId}/status`, "utf8"))
    return match === null ? undefined : Number(match[1])
  } catch {
    return undefined
  }
}

/** What a process has open, as paths; undefined when that cannot be seen. */
export function openPaths(pid: number): string[] | undefined {
  const directory = `/proc/${pid}/fd`
  try {
    return readdirSync(directory).flatMap((fd) => {
      try {
        return readlinkSync(`${directory}/${fd}`)
      } catch (error) {
        // Without CAP_SYS_PTRACE the numbers can be listed, and nothing more.
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error
        return [] // it was closed just now
      }
    })
  } catch {
    return undefined
  }
}

/** A process for people: its id and command. Unknown when its locks are not visible from here. */
export function describeProcess(pid: number | undefined): string {
  if (pid === undefined) return "unknown"
  try {
    return `${pid} (${readFileSync(`/proc/${pid}/comm`, "utf8").trimEnd()})`
  } catch {
    return `${pid}`
  }
}

/** The command of a thread, as in /proc/[pid]/comm; undefined when the thread is gone or out of sight. */
export function commandOfThread(threadId: number): string | undefined {
  if (threadId === 0) return undefined
  try {
    return readFileSync(`/proc/${threadId}/comm`, "utf8").trimEnd()
  } catch {
    return undefined
  }
}

/** The process of a thread, by the kernel's id of it, 0 if unknown. */
export function describeThread(threadId: number): string {
  return describeProcess(threadId === 0 ? undefined : processOfThread(threadId))
}

/**
 * Whether a process was killed and cannot end: its first thread is a zombie, while another waits in the kernel for an
 * answer that nobody will give. False for a process that lives or is gone.
 */
export function isDying(pid: number): boolean {
  try {
    return /^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))
  } catch {
    return false
  }
}

/**
 * Whether a signal that ends the process waits for the thread, which is in the kernel. Such a signal is SIGKILL to each
 * thread (Linux: complete_signal), except one that makes a core dump.
 */
export function isBeingKilled(threadId: number): boolean {
  try {
    const status = readFileSync(`/proc/${threadId}/status`, "utf8")
    const pending = [...status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm)]
    return pending.some(([, mask]) => (BigInt(`0x${mask}`) & SIGKILL_BIT) !== 0n)
  } catch {
    return false
  }
}

const SIGKILL_BIT = 1n << 8n

/**
 * Bytes of the JavaScript heap that the calling thread uses. Undefined when the runtime cannot look, as at the limit of
 * descriptors.
 */
export function heapUsed(): number | undefined {
  try {
    return process.memoryUsage().heapUsed
  } catch {
    return undefined
  }
}
