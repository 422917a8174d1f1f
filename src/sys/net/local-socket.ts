/** Unix sockets as files: for users of this machine who may open the file. */
import {
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs"
import { basename, dirname, join } from "node:path"
import { LitefsError } from "../../lib/errors.ts"

/** sockaddr_un has 108 bytes for a path and the zero after it: unix(7). */
const PATH_SIZE_MAX = 107

export interface ReachablePath extends Disposable {
  readonly path: string
}

/** A path that a socket can bind or connect to, until it is disposed of. A long path goes through a descriptor. */
export function reachable(path: string): ReachablePath {
  if (Buffer.byteLength(path) <= PATH_SIZE_MAX) return { path, [Symbol.dispose]: () => {} }
  const fd = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY)
  return {
    path: `/proc/self/fd/${fd}/${basename(path)}`,
    [Symbol.dispose]: () => closeSync(fd),
  }
}

const MADE_IN = ".new"
const MADE_AS = "s"

/**
 * Paths at which sockets of bindPrivately() listen, of every process that shares our network: proc_net(5) tells where
 * they were bound. Those with a long path are missing.
 */
export function boundSockets(): string[] {
  try {
    return readFileSync("/proc/net/unix", "utf8").split("\n").flatMap(boundPath)
  } catch {
    return []
  }
}

/** Of a line: address, references, protocol, flags, type, state, inode, path. */
function boundPath(line: string): string[] {
  const [, flags, path] = /^\S+ \S+ \S+ (\S+) \S+ \S+ +\d+ (\/.*)$/.exec(line) ?? []
  const end = `${MADE_IN}/${MADE_AS}`
  const isListening = (Number.parseInt(flags ?? "0", 16) & SO_ACCEPTCON) !== 0
  return isListening && path?.endsWith(end) ? [path.slice(0, -end.length)] : []
}

const SO_ACCEPTCON = 0x10000

/**
 * Has `bind` make a socket and puts it at the path, in place of any file there. From the beginning only our own user
 * may connect: the socket is made in a directory that nobody else can look into. Throws when a directory is there.
 */
export async function bindPrivately(
  path: string,
  bind: (path: string) => Promise<void>,
): Promise<void> {
  const directory = `${path}${MADE_IN}`
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    const problem = "it is a directory, it should be a socket, or not be there"
    throw new LitefsError("unavailable", `Cannot listen at "${path}": ${problem}`)
  }
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { mode: 0o700 })
  try {
    const made = join(directory, MADE_AS)
    using way = reachable(made)
    await bind(way.path)
    chmodSync(made, 0o600)
    renameSync(made, path)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
