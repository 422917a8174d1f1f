/** A command that LiteFS runs, as a process. */
import { type ChildProcess, type StdioOptions, spawn } from "node:child_process"
import { constants } from "node:os"
import { asError, LitefsError, messageOf } from "../../lib/errors.ts"
import { endingWithUs } from "../../sys/process/death-signal.ts"
import type { Environment } from "../terminal/argv.ts"

export interface Child {
  /** Undefined when it could not be started. */
  readonly pid: number | undefined
  kill(signal: NodeJS.Signals): void
}

export interface ChildExit {
  /** As in a shell: 128+n when signal n ended it, 127 when it was not found, 126 when it was not executable. */
  readonly code: number
  /** Why it could not be started. */
  readonly error?: LitefsError
}

export interface ChildOptions {
  /** Its environment; undefined: ours. */
  readonly env?: Environment | undefined
  /** Whether it reads our stdin: input for one command must not reach another. */
  readonly hasStdin?: boolean
  /** Becomes its fourth descriptor: a lock on it lasts while the command runs. */
  readonly inherited?: number | undefined
  /** Whether it gets SIGTERM when this process dies before it can stop it. */
  readonly endsWithUs?: boolean
}

/**
 * Starts the command with our own streams and without a shell: every argument arrives unchanged. Calls `onExit` once,
 * also when the command cannot be started.
 */
export function startChild(
  command: readonly string[],
  onExit: (exit: ChildExit) => void,
  { env, hasStdin = true, inherited, endsWithUs = false }: ChildOptions = {},
): Child {
  const [file = "", ...args] = command
  const stdio: StdioOptions = [hasStdin ? "inherit" : "ignore", "inherit", "inherit"]
  if (inherited !== undefined) stdio.push(inherited)
  const path = (env ?? process.env).PATH ?? ""
  const way = (endsWithUs ? endingWithUs(file, args, path) : undefined) ?? { file, args }
  const started = attempt(() =>
    spawn(way.file, way.args, { stdio, ...(env && { env: { ...env } }) }),
  )
  if (started instanceof Error) {
    queueMicrotask(() => onExit(notStarted(file, started)))
    return { pid: undefined, kill: () => {} }
  }
  started.once("error", (error) => onExit(notStarted(file, error)))
  started.once("exit", (code, signal) => onExit({ code: code ?? signalExitCode(signal) }))
  return {
    pid: started.pid,
    // After the command has ended this does nothing: its exit is already on the way.
    kill: (signal) => void started.kill(signal),
  }
}

/** The exit code that stands for "ended by this signal". */
export function signalExitCode(signal: NodeJS.Signals | null): number {
  return 128 + (signal === null ? 0 : constants.signals[signal])
}

/** Most failures to start arrive as an event, but some (ENOEXEC) are thrown. */
function attempt(start: () => ChildProcess): ChildProcess | Error {
  try {
    return start()
  } catch (error) {
    return asError(error)
  }
}

function notStarted(file: string, error: NodeJS.ErrnoException): ChildExit {
  if (error.code === "ENOENT") {
    const place = file.includes("/") ? "there is no such program" : "no such program is in PATH"
    return { code: 127, error: cannotRun(file, place, error) }
  }
  return { code: 126, error: cannotRun(file, startFault(error), error) }
}

function startFault(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case "EACCES":
      return "it is not an executable file"
    case "ENOEXEC":
      return "it is not a program of this machine, a script should start with #!"
    default:
      return messageOf(error)
  }
}

function cannotRun(file: string, fault: string, cause: Error): LitefsError {
  return new LitefsError("unavailable", `Cannot run "${file}": ${fault}`, { cause })
}
