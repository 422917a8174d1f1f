/**
 * Makes clients look again at what they remember of a database in WAL mode.
 *
 * A client that rolls a write transaction back takes the present header of the wal-index for the one it has read at the
 * beginning (SQLite: sqlite3WalUndo), because nobody else can have written. But the daemon has, if it has applied a
 * transaction while a client kept WRITE (wal-applier.ts). That client then finds no change, and continues with the
 * pages in its cache: it reads old content, and its writes undo what has come. The header therefore gets another change
 * counter, as soon as WRITE is free.
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { closeFile, type Fd, O_RDWR } from "../../sys/file.ts"
import { openOwnFile } from "../../sys/file-access.ts"
import { untilLocked } from "../locks/lock-wait.ts"
import { release, tryTake, WRITE } from "../locks/sqlite-locks.ts"
import { WalIndexFile } from "./wal-index-file.ts"

/** By then the transaction that this is for is written. */
const FIRST_MS = 2

/** Resolves when it is done; rejects when `signal` comes before. */
export async function touchWhenFree(
  path: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  // A descriptor of its own, with its own locks: the roles of the threads may change meanwhile.
  const shm = openOwnFile("mount:open", path, O_RDWR)
  try {
    await sleep(clock, FIRST_MS, signal)
    await untilLocked({ clock, signal }, () => tryTouch(shm))
  } finally {
    closeFile(shm)
  }
}

function tryTouch(shm: Fd): boolean {
  if (!tryTake(shm, WRITE)) return false
  try {
    const index = new WalIndexFile(shm)
    const header = index.read()?.header
    if (header === undefined) return false // whoever recovers it makes another
    index.writeHeader({ ...header, change: (header.change + 1) >>> 0 })
    return true
  } finally {
    release(shm, WRITE)
  }
}
