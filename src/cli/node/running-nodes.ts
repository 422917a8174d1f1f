/** Where LiteFS runs on this machine, for commands that are not told where their node is. */
import { dirname, resolve } from "node:path"
import { DataDir } from "../../store/data-dir.ts"
import { litefsMounts, probe } from "../../sys/mount.ts"
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
  if (isGiven || running.length === 0 || running.includes(resolve(directory))) return directory
  // A single one is not asked whether it lives: the command will see that.
  const [only = directory, ...others] = running.length === 1 ? running : firstAlive(running, 2)
  return others.length === 0 ? only : directory
}

/** For a message: what may be given, of the nodes that run here. A bound socket has a node that lives; a mount may not. */
export function suggestion(found: readonly string[], areSockets = false): string {
  const running = areSockets ? found : firstAlive(found, SHOWN_COUNT + 1)
  if (running.length === 0) return ""
  const some = running.slice(0, SHOWN_COUNT).map((each) => `"${each}"`)
  return `, like ${some.join(", ")}${running.length > SHOWN_COUNT ? ", …" : ""}`
}

/** Without mounts of which the LiteFS has died. */
function firstAlive(directories: readonly string[], countMax: number): string[] {
  const alive: string[] = []
  for (const each of directories) {
    if (alive.length >= countMax) break
    if (probe(each, PROBE_MS) !== "refuses") alive.push(each) // one that is silent is only busy
  }
  return alive
}

const SHOWN_COUNT = 5
const PROBE_MS = 500
