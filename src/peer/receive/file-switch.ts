/**
 * Gives a database of a replica other files, under the clients that have it open.
 *
 *   lock every client out ─▶ decide ─▶ rename ─▶ fs thread opens the new file ─▶ kernel forgets the old one
 *     ─▶ WAL and wal-index start over ─▶ publish ─▶ unlock
 *
 * 1. What is done under the locks does not depend on the size of the database.
 * 2. From the decision on there is no way back, and a step that fails is tried again: clients that went on with
 *    half of it would read pages of two databases.
 * 3. A client that is in a transaction for long is waited for in rounds, between which others are let in.
 *
 * A rollback-mode client keeps its cached pages if 16 bytes of the header are as it knows them, and every client
 * keeps its idea of the schema if the schema cookie is (SQLite: sqlite3PagerSharedLock, sqlite3BtreeGetMeta). In a
 * database with another history they may be the same by chance: then the mount shows others
 * (sqlite/header-disguise.ts).
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { Logger } from "../../lib/log.ts"
import type { Sender } from "../../lib/port.ts"
import type { FsThreadOfPeer } from "../../mount/contract.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { type Fd, sizeOf } from "../../sys/file.ts"
import { DatabaseLock, isInWalMode } from "../files/database-lock.ts"
import type { KernelCache } from "../files/kernel-cache.ts"
import { nodeIdAt } from "../files/mounted-files.ts"
import * as access from "../locks/exclusive-access.ts"
import { untilLocked } from "../locks/lock-wait.ts"
import { untilDone } from "../locks/until-done.ts"
import { WalIndexFile } from "../wal/wal-index-file.ts"
import { beginWal } from "../wal/wal-writer.ts"

/** Other files are to take the place of a database's. */
export interface FileSwitch {
  readonly name: string
  readonly pageSize: number
  readonly commit: number // pages; 0 when there is no database afterwards
  /** Of the new content, which clients could take for what they remember; undefined: they cannot. */
  readonly disguise: number | undefined
  /** What the daemon has locked of the old files is given up. True when clients may have the WAL open. */
  yield(): boolean
  /** Throws when nothing is to be changed. */
  decide(): void
  /** Changes the files. Can be done again. */
  change(): void
  /** Called when clients will find the new content, and before one can. */
  publish(): void
}

export interface FileSwitchOptions {
  readonly fuseDir: string
  readonly dataDir: DataDir
  readonly cache: KernelCache
  readonly clock: Clock
  readonly log: Logger
  /** Aborted when the node stops. */
  readonly signal: AbortSignal
  /** The file, when this thread holds RESERVED of it already, and it is in no WAL mode. */
  reserved(name: string): Fd | undefined
  readonly fs: Pick<Sender<FsThreadOfPeer>, "tell">
}

/** No client is in a transaction until it is disposed. `shm` is undefined but in WAL mode. */
interface Lock extends Disposable {
  readonly database: Fd
  readonly shm: Fd | undefined
}

const ROUND_MS = 1000

export async function switchFiles(options: FileSwitchOptions, files: FileSwitch): Promise<void> {
  using lock = await lockOut(options, files)
  files.decide()
  await untilDone(options, files.name, "cannot take a snapshot over, clients wait", () => {
    files.change()
    options.fs.tell("switched", files.name, files.disguise)
    if (lock !== undefined) forgetOld(options, files, lock)
  })
  files.publish()
}

async function lockOut(options: FileSwitchOptions, files: FileSwitch): Promise<Lock | undefined> {
  const { name } = files
  const { fuseDir, clock, log, signal } = options
  const reserved = options.reserved(name)
  if (reserved !== undefined) return lockReserved(options, reserved, files)
  for (let round = 1; ; round++) {
    try {
      return await DatabaseLock.acquire({
        directory: fuseDir,
        database: name,
        clock,
        limitMs: ROUND_MS,
        signal,
        isWalMode: () => files.yield(),
      })
    } catch (error) {
      const isBusy = error instanceof LitefsError && error.code === "unavailable"
      if (!isBusy || signal.aborted) throw error
      if (round === 5) {
        const { message: problem } = error
        log.warn("waiting for readers to take a snapshot over", { db: name, problem })
      }
      await sleep(clock, ROUND_MS, signal)
    }
  }
}

/** The database is lent, without content, and gets its first transaction. */
async function lockReserved(
  { clock, signal }: FileSwitchOptions,
  database: Fd,
  files: FileSwitch,
): Promise<Lock> {
  files.yield()
  const attempt = (isLate: boolean) => access.tryLockFile(database, isLate)
  await untilLocked({ clock, signal, waited() {} }, attempt)
  const release = () => access.releaseFile(database)
  return { database, shm: undefined, [Symbol.dispose]: release }
}

function forgetOld(options: FileSwitchOptions, files: FileSwitch, lock: Lock): void {
  const { fuseDir, cache } = options
  const { name, commit } = files
  if (commit === 0) return // its name goes, and with it what is known of it
  if (lock.shm !== undefined) restartWal(options, files, new WalIndexFile(lock.shm))
  // Two requests: before it takes the second one, the fs thread has read its mailbox.
  nodeIdAt(fuseDir, name)
  cache.forgetFile(nodeIdAt(fuseDir, name))
  sizeOf("mount:stat", lock.database) // see MountedFiles.forgetPages()
}

/**
 * To clients there is a WAL while its file is not empty: those who have it open go on with it, so new ones have to
 * find it, whatever the new content says.
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
