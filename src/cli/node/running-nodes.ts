/** Where LiteFS runs on this machine, for commands that are not told where their node is. */
import { dirname, resolve } from "node:path"
import { DataDir } from "../../store/data-dir.ts"
import { litefsMounts } from "../../sys/mount.ts"
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
  const [only, ...others] = running
  if (isGiven || only === undefined || running.includes(resolve(directory))) return directory
  return others.length === 0 ? only : directory
}

/** For a message: what may be given, of the nodes that run here. */
export function suggestion(running: readonly string[]): string {
  if (running.length === 0) return ""
  const some = running.slice(0, SHOWN_COUNT).map((each) => `"${each}"`)
  return `, like ${some.join(", ")}${running.length > SHOWN_COUNT ? ", …" : ""}`
}

const SHOWN_COUNT = 5
