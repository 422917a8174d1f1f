/**
 * Gives a database of a replica other files, under the clients that have it open.
 *
 *   lock every client out ─▶ decide ─▶ rename ─▶ fs thread opens the new file ─▶ kernel forgets the old one
 *     ─▶ WAL and wal-index start over ─▶ switched ─▶ unlock
 *
 * 1. The work under the locks does not depend on the size of the database.
 * 2. From the decision on there is no way back, and a failed step is repeated: clients that continued with half of it
 *    would read pages of two databases.
 * 3. A long transaction of a client is waited for in rounds, between which others are let in.
 * 4. A transaction that was applied by half keeps every client out. Its locks serve here: this thread would wait for
 *    itself, and clients that are let in between would read the half.
 *
 * A rollback-mode client keeps its cached pages if 16 bytes of the header are as it knows them, and every client keeps
 * its idea of the schema if the schema cookie is the same (SQLite: sqlite3PagerSharedLock, sqlite3BtreeGetMeta). In a
 * database with another history both may be the same by chance: the mount then shows other values
 * (sqlite/header-disguise.ts).
 */
import { sleep } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { Sender } from "../../lib/port.ts"
import type { FsThreadOfPeer } from "../../mount/contract.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { sizeOf } from "../../sys/file-status.ts"
import type { KernelCache } from "../files/kernel-cache.ts"
import { nodeIdAt } from "../files/mounted-files.ts"
import { ClientLocks, type ExclusiveLocks, type LockedOut } from "../locks/client-locks.ts"
import { untilDone } from "../locks/until-done.ts"
import { type WaitListener, WaitReport } from "../locks/wait-report.ts"
import { isInWalMode } from "../locks/wal-mode.ts"
import { WalIndexFile } from "../wal/wal-index-file.ts"
import { beginWal } from "../wal/wal-writer.ts"

/** Files that will take the place of a database's. */
export interface FileSwitch {
  readonly name: string
  readonly pageSize: number
  readonly commit: number // pages; 0 when no database is left
  /** For new content that clients could take for what they remember; undefined: they cannot. */
  readonly disguise: number | undefined
  /** What every client is locked out with already. It stays so until switched(). */
  readonly lockedOut: LockedOut | undefined
  /** Gives up the daemon's locks of the old files. True when clients may have the WAL open. */
  yield(): boolean
  /** Throws when nothing should change. */
  decide(): void
  /** Changes the files. Can be repeated. */
  change(): void
  /** Called when clients will find the new content, but before one can. */
  switched(): void
}

export interface FileSwitchOptions extends WaitListener {
  readonly fuseDir: string
  readonly dataDir: DataDir
  readonly cache: KernelCache
  /** Aborted when the node stops. */
  readonly signal: AbortSignal
  /** What this thread already holds of the database: RESERVED or, when clients use a WAL, WRITE. */
  held(name: string): ClientLocks | undefined
  readonly fs: Pick<Sender<FsThreadOfPeer>, "tell">
}

const ROUND_MS = 1000

export async function switchFiles(options: FileSwitchOptions, files: FileSwitch): Promise<void> {
  const { lockedOut } = files
  using taken = lockedOut === undefined ? await lockOut(options, files) : undefined
  const lock = lockedOut ?? taken
  files.decide()
  await untilDone(options, files.name, "cannot take a snapshot over, clients wait", () => {
    files.change()
    options.fs.tell("switched", files.name, files.disguise)
    if (lock !== undefined) forgetOld(options, files, lock)
  })
  files.switched()
}

async function lockOut(
  options: FileSwitchOptions,
  files: FileSwitch,
): Promise<ExclusiveLocks | undefined> {
  const { name } = files
  const { fuseDir, clock, signal } = options
  using report = new WaitReport(options, name, "take a snapshot over")
  const held = options.held(name)
  if (held !== undefined) {
    // The database is lent, without content, and gets its first transaction. Or its clients could write past the daemon.
    files.yield()
    return await held.excludeReaders(report, (shm) => new WalIndexFile(shm))
  }
  for (;;) {
    try {
      return await ClientLocks.lockOut({
        directory: fuseDir,
        database: name,
        clock,
        limitMs: ROUND_MS,
        signal,
        isWalMode: () => files.yield(),
        gateOf: (shm) => new WalIndexFile(shm),
        report,
      })
    } catch (error) {
      const isBusy = error instanceof LitefsError && error.code === "unavailable"
      if (!isBusy || signal.aborted) throw error
      await sleep(clock, ROUND_MS, signal)
    }
  }
}

function forgetOld(options: FileSwitchOptions, files: FileSwitch, lock: LockedOut): void {
  const { fuseDir, cache } = options
  const { name, commit } = files
  if (commit === 0) return // its name goes, and everything known of it
  if (lock.shm !== undefined) restartWal(options, files, new WalIndexFile(lock.shm))
  // Two requests: before it takes the second one, the fs thread has read its mailbox.
  nodeIdAt(fuseDir, name)
  cache.forgetFile(nodeIdAt(fuseDir, name))
  sizeOf("mount:stat", lock.database) // see MountedFiles.forgetPages()
}

/**
 * Clients see a WAL while its file is not empty. Those who have it open continue with it, so new ones have to find it,
 * whatever the new content says.
 */
function restartWal(options: FileSwitchOptions, files: FileSwitch, index: WalIndexFile): void {
  const { fuseDir, dataDir, cache, clock } = options
  const { name, pageSize, commit: pageCount } = files
  index.restart(clock.random(), { pageSize, pageCount })
  const wal = dataDir.file(name, "wal")
  try {
    if (!wal.open()) return
    wal.truncate(0)
    const header = index.read()?.header
    const isWal = isInWalMode(dataDir.path(name, "database"))
    if (!isWal && header !== undefined) beginWal(wal, header, pageSize)
    cache.forgetFile(nodeIdAt(fuseDir, `${name}-wal`))
  } finally {
    wal.close()
  }
}
