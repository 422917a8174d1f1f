/** Where LiteFS runs on this machine, for commands that are not told where their node is. */
import { dirname, resolve } from "node:path"
import { DataDir } from "../../store/data-dir.ts"
import { isDeadMount, litefsMounts } from "../../sys/mount.ts"
import { boundSockets } from "../../sys/net/local-socket.ts"

/** Directories of the nodes that run here, of every user. */
export interface RunningNodes {
  readonly mounts: readonly string[]
  readonly dataDirs: readonly string[]
}

export function runningNodes(): RunningNodes {
  const sockets = boundSockets().filter((path) => new DataDir(dirname(path)).socketPath === path)
  return { mounts: litefsMounts(), dataDirs: [...new Set(sockets.map(dirname))] }
}

/** The directory that was given, or the one that the default stands for: that of the only node that runs. */
export function directoryOf(
  directory: string,
  isGiven: boolean,
  running: readonly string[],
): string {
  // A single one is not asked whether it lives: that waits while it does not answer.
  const alive =
    running.length > 1 && !isGiven ? running.filter((each) => !isDeadMount(each)) : running
  const [only, ...others] = alive
  if (isGiven || only === undefined || alive.includes(resolve(directory))) return directory
  return others.length === 0 ? only : directory
}

/** For a message: what may be given, of the nodes that run here. */
export function suggestion(found: readonly string[]): string {
  const running = found.filter((each) => !isDeadMount(each))
  if (running.length === 0) return ""
  const some = running.slice(0, SHOWN_COUNT).map((each) => `"${each}"`)
  return `, like ${some.join(", ")}${running.length > SHOWN_COUNT ? ", …" : ""}`
}

const SHOWN_COUNT = 5
