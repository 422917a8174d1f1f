/** What the outside does to this process: signals, and errors that nobody caught. */
import { readFileSync } from "node:fs"
import { asError } from "../../lib/errors.ts"

const FORWARDED_SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const

export type SignalName = (typeof FORWARDED_SIGNALS)[number]

export interface Signal {
  readonly name: SignalName
  /** Whether a key (Ctrl-C) sent it: the terminal has then sent it to the child as well. */
  readonly fromKeyboard: boolean
}

export interface ProcessEvents {
  /** Calls back until the returned function is called; so does onChildEnd(). */
  onSignal(listener: (signal: Signal) => void): () => void
  onCrash(listener: (error: Error) => void): () => void
  /** A child has ended: one of ours, or as PID 1 an orphan. One call may stand for several. */
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
      listener(asError(reason))
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

/** Signals by which a service manager or a user ends a program. */
export function asksToStop(name: SignalName): boolean {
  return name === "SIGTERM" || name === "SIGINT"
}

/** A child may take SIGHUP for "reload". Without one, SIGHUP and SIGQUIT have their usual meaning. */
export function endsWithoutChild(name: SignalName): boolean {
  return asksToStop(name) || name === "SIGHUP" || name === "SIGQUIT"
}

function isKey(name: SignalName): boolean {
  return name === "SIGINT" || name === "SIGQUIT"
}

/**
 * Whether this process's group gets the terminal's keys. The signal itself does not tell a JavaScript program where it
 * came from.
 */
function inForeground(): boolean {
  // proc(5): pid (comm) state ppid pgrp session tty_nr tpgid …, where comm may contain anything.
  const stat = readFileSync("/proc/self/stat", "latin1")
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  const [pgrp, tpgid] = [fields[2], fields[5]]
  return pgrp === tpgid
}
