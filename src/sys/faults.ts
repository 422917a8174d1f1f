/**
 * Faults on demand: every system call of the daemon that touches data has a name, and a test can make the n-th call of
 * a name fail with an errno, or stop the process or the thread there.
 *
 *   LITEFS_FAULTS="log:fsync#3=ENOSPC,wal:write#10=kill"   fails the third, stops at the tenth
 *   LITEFS_FAULTS="ltx:*#2-5=EIO,*#100+=ENOSPC"            from the second to the fifth; from the hundredth on
 *   LITEFS_FAULTS="2/ltx:open#1=end"                        the thread ends there, and the process goes on
 *   LITEFS_FAULTS="log:write@1xk20c#2=EIO"                  the second that is made at this place in the program
 *   LITEFS_FAULTS_FILE=PATH                                 as above, but the file may be replaced at any time:
 *                                                           counting starts anew, an empty one lifts all faults
 *   LITEFS_FAULTS_COUNT=PATH                                appends the name of each call: a line, a call
 *                                                           ("1/log:fsync", with "!" behind it when it fails);
 *                                                           with its place when "sites" is among the faults
 *                                                           ("1/log:fsync@1xk20c")
 *
 * `*` stands for any part of a name. A fault counts all calls that match its name together, but each thread counts its
 * own: the threads of a process do not share the count. `1/log:fsync` is the call of thread 1 alone; 0 is the main
 * thread. A place is the chain of callers, as the same program has it in every run; a fault that has begun at its place
 * goes on wherever the call is made. Without these variables `faults` is undefined and a call costs one comparison.
 */
import { openSync, readFileSync, statSync, writeSync } from "node:fs"
import { threadId } from "node:worker_threads"
import { Errno } from "./errno.ts"

const SITES = "sites"
const FRAMES_MAX = 100

interface Plan {
  readonly faults: readonly Fault[]
  readonly countsSites: boolean
}

interface Fault {
  readonly op: RegExp
  readonly site: string | undefined
  readonly first: number
  readonly last: number
  readonly action: "kill" | "end" | number // an errno
  count: number
}

export interface FaultSources {
  readonly text: string
  readonly file: string | undefined
  readonly countFile: string | undefined
}

/** Every call asks this first. */
export interface FaultCheck {
  /**
   * The errno that the call must fail with, or 0 to let it through. Does not return when the process or thread stops
   * here.
   */
  check(op: string): number
}

export class Faults implements FaultCheck {
  readonly #sources: FaultSources
  #plan: Plan
  #version = ""
  #countFd: number | undefined

  constructor(sources: FaultSources) {
    this.#sources = sources
    this.#plan = parsePlan(sources.text)
  }

  check(op: string): number {
    const { file, countFile } = this.#sources
    if (file !== undefined) this.#read(file)
    const name = `${threadId}/${op}`
    const { faults, countsSites } = this.#plan
    let site = countsSites ? callSite() : undefined
    let action: Fault["action"] = 0
    for (const fault of faults) {
      if (!fault.op.test(op) && !fault.op.test(name)) continue
      if (fault.site !== undefined && fault.count < fault.first) {
        site ??= callSite()
        if (fault.site !== site) continue
      }
      fault.count += 1
      if (fault.count < fault.first || fault.count > fault.last) continue
      if (action === 0 || typeof fault.action === "string") action = fault.action
    }
    if (countFile !== undefined) {
      const place = countsSites ? `@${site}` : ""
      this.#countFd ??= openSync(countFile, "a")
      writeSync(this.#countFd, `${name}${place}${action === 0 ? "" : "!"}\n`)
    }
    if (typeof action === "number") return action
    // In a Worker exit() ends only the thread, and runs no `catch` or `finally` on the way.
    if (action === "end") process.exit(1)
    process.kill(process.pid, "SIGKILL")
    return 0
  }

  #read(file: string): void {
    const { ino, mtimeNs, size } = statSync(file, { bigint: true })
    const version = `${ino} ${mtimeNs} ${size}`
    if (version === this.#version) return
    this.#version = version
    this.#plan = parsePlan(readFileSync(file, "utf8"))
  }
}

/** The callers of check(), innermost first, as one word. */
function callSite(): string {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = FRAMES_MAX
  const callers = { stack: "" }
  Error.captureStackTrace(callers, Faults.prototype.check)
  Error.stackTraceLimit = limit
  return Bun.hash.crc32(callers.stack).toString(36)
}

function parsePlan(text: string): Plan {
  const parts = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "")
  return {
    faults: parts.filter((part) => part !== SITES).map(parseFault),
    countsSites: parts.includes(SITES),
  }
}

function parseFault(text: string): Fault {
  const match = /^([\w/:*-]+)(?:@(\w+))?#(\d+)(\+|-(\d+))?=(\w+)$/.exec(text)
  const [, op = "", site, first, range, last, name] = match ?? []
  const action = name === "kill" || name === "end" ? name : Errno[name as keyof typeof Errno]
  if (action === undefined) {
    const form = "must be OP#N=ERRNO, OP#N=kill or OP#N=end, with OP or OP@SITE, and N, N-M or N+"
    throw new SyntaxError(`Cannot parse LITEFS_FAULTS: "${text}", ${form}`)
  }
  return {
    op: new RegExp(`^${op.replaceAll("*", ".*")}$`),
    site,
    first: Number(first),
    last: range === "+" ? Number.POSITIVE_INFINITY : Number(last ?? first),
    action,
    count: 0,
  }
}

const text = process.env.LITEFS_FAULTS ?? ""
const file = process.env.LITEFS_FAULTS_FILE
const countFile = process.env.LITEFS_FAULTS_COUNT
export let faults: FaultCheck | undefined =
  text === "" && file === undefined && countFile === undefined
    ? undefined
    : new Faults({ text, file, countFile })

/** For tests that run the code under test in their own process. */
export function setFaults(next: FaultCheck | undefined): void {
  faults = next
}
