/**
 * What a process has of what may leak, as the kernel counts it. A thread with a table of descriptors of its own (the fs
 * thread of a node) is counted with the others.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs"

export interface ProcessUsage {
  /** What each open descriptor stands for, of each table of descriptors. */
  readonly files: readonly string[]
  readonly threads: number
  /** Bytes. */
  readonly residentSize: number
  /** Bytes of these that are not pages of files. */
  readonly anonymousSize: number
}

export function usageOf(pid: number): ProcessUsage {
  const tasks = namesIn(`/proc/${pid}/task`)
  const tables = new Map<string, readonly string[]>()
  for (const task of tasks) {
    const links = linksIn(`/proc/${pid}/task/${task}/fd`)
    // In each table the mount's device has another number.
    const key = links.filter(({ target }) => target === "/dev/fuse").map(({ fd }) => fd)
    tables.set(
      `${key}`,
      links.map(({ target }) => target),
    )
  }
  const status = readFileSync(`/proc/${pid}/status`, "utf8")
  const sizeOf = (name: string) =>
    Number(new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(status)?.[1]) * 1024
  return {
    files: [...tables.values()].flat().sort(),
    threads: tasks.length,
    residentSize: sizeOf("VmRSS"),
    anonymousSize: sizeOf("RssAnon"),
  }
}

function linksIn(directory: string): { readonly fd: string; readonly target: string }[] {
  return namesIn(directory).flatMap((fd) => {
    try {
      return [{ fd, target: readlinkSync(`${directory}/${fd}`) }]
    } catch {
      return [] // closed meanwhile
    }
  })
}

/** Of a thread that ends meanwhile nothing. */
function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}
