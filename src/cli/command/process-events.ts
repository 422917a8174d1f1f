/** What the outside does to this process: signals, and errors that nobody caught. */
import { readFileSync } from "node:fs"

const FORWARDED_SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const

export type SignalName = (typeof FORWARDED_SIGNALS)[number]

export interface Signal {
  readonly name: SignalName
  /** A key (Ctrl-C) sent it, and so the terminal has sent it to the child as well. */
  readonly fromKeyboard: boolean
}

export interface ProcessEvents {
  /** Both call back until the returned function is called. */
  onSignal(listener: (signal: Signal) => void): () => void
  onCrash(listener: (error: Error) => void): () => void
  /** A child has ended: one of ours, or as PID 1 one that lost its parent. Several may be told as one. */
  onChildEnd(listener: () => void): () => void
}

export const processEvents: ProcessEvents = {
  onSignal(listener) {
    const listeners = FORWARDED_SIGNALS.map((name) => {
      const onSignal = () => listener({ name, fromKeyboard: isKey(name) && inForeground() })
      process.on(name, onSignal)
      return () => process.off(name, onSignal)
    })
    return () => {
      for (const remove of listeners) remove()
    }
  },

  onCrash(listener) {
    const onError = (reason: unknown) => {
      listener(reason instanceof Error ? reason : new Error(String(reason)))
    }
    process.on("uncaughtException", onError)
    process.on("unhandledRejection", onError)
    return () => {
      process.off("uncaughtException", onError)
      process.off("unhandledRejection", onError)
    }
  },

  onChildEnd(listener) {
    process.on("SIGCHLD", listener)
    return () => process.off("SIGCHLD", listener)
  },
}

/** What a service manager or a user sends to end a program. */
export function asksToStop(name: SignalName): boolean {
  return name === "SIGTERM" || name === "SIGINT"
}

/** A child may take SIGHUP for "reload"; without one, it and SIGQUIT mean what they always mean. */
export function endsWithoutChild(name: SignalName): boolean {
  return asksToStop(name) || name === "SIGHUP" || name === "SIGQUIT"
}

function isKey(name: SignalName): boolean {
  return name === "SIGINT" || name === "SIGQUIT"
}

/**
 * Whether this process' group is the one that the terminal sends its keys to. The signal itself
 * does not tell a JavaScript program where it came from.
 */
function inForeground(): boolean {
  // proc(5): pid (comm) state ppid pgrp session tty_nr tpgid …, and comm may hold anything.
  const stat = readFileSync("/proc/self/stat", "latin1")
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  const [pgrp, tpgid] = [fields[2], fields[5]]
  return pgrp === tpgid
}
