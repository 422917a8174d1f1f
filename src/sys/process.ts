import { readFileSync } from "node:fs"

/** The process a thread belongs to, by the kernel's ids; undefined when there is no such thread any more. */
export function processOfThread(threadId: number): number | undefined {
  try {
    const match = /^Tgid:\s*(\d+)$/m.exec(readFileSync(`/proc/${threadId}/status`, "utf8"))
    return match === null ? undefined : Number(match[1])
  } catch {
    return undefined
  }
}
