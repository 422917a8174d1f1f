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
 * (mount/header-disguise.ts).
 */
import { type Clock, sleep } from "../lib/clock.ts"
import { LitefsError } from "../lib/errors.ts"
import type { Logger } from "../lib/log.ts"
import type { FsMessage } from "../mount/messages.ts"
import { DATABASE_HEADER_SIZE, decodeDatabaseHeader, isWalMode } from "../sqlite/database-header.ts"
import { BackedFile } from "../store/backed-file.ts"
import type { DataDir } from "../store/data-dir.ts"
import { FileSource } from "../store/file-source.ts"
import type { Fd } from "../sys/file.ts"
import { DatabaseLock } from "./database-lock.ts"
import type { KernelCache } from "./kernel-cache.ts"
import { nodeIdOf } from "./mounted-files.ts"
import { restartWalIndex } from "./wal-publisher.ts"

/** Other files are to take the place of a database's. */
export interface FileSwitch {
  readonly name: string
  readonly pageSize: number
  readonly commit: number // pages; 0 when there is no database afterwards
  /** Of the new content, which clients could take for what they remember; undefined: they cannot. */
  readonly disguise: number | undefined
  /** What the daemon holds locked of the old files is given up. */
  detach(): void
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
  tellFs(message: FsMessage): void
}

const ROUND_MS = 1000
const RETRY_MS = 1000

export async function switchFiles(options: FileSwitchOptions, files: FileSwitch): Promise<void> {
  using lock = await lockOut(options, files)
  files.decide()
  await untilDone(options, files.name, () => {
    files.change()
    options.tellFs({ type: "switched", database: files.name, disguise: files.disguise })
    if (lock !== undefined) forgetOld(options, files, lock.shm)
  })
  files.publish()
}

async function lockOut(
  options: FileSwitchOptions,
  { name, detach }: FileSwitch,
): Promise<DatabaseLock | undefined> {
  const { fuseDir, dataDir, clock, log, signal } = options
  for (let round = 1; ; round++) {
    try {
      return await DatabaseLock.acquire({
        directory: fuseDir,
        database: name,
        clock,
        limitMs: ROUND_MS,
        signal,
        isWalMode: () => {
          const isWal = isInWalMode(dataDir.path(name, "database"))
          // In WAL mode what it holds is in nobody's way, and keeps the last client from removing the WAL.
          if (!isWal) detach()
          return isWal
        },
      })
    } catch (error) {
      const isBusy = error instanceof LitefsError && error.code === "unavailable"
      if (!isBusy || signal.aborted) throw error
      if (round === 5) log.warn("waiting for readers to take a snapshot over", { db: name })
      await sleep(clock, ROUND_MS, signal)
    }
  }
}

function forgetOld(options: FileSwitchOptions, files: FileSwitch, shm: Fd | undefined): void {
  const { fuseDir, dataDir, cache, clock } = options
  const { name, pageSize, commit } = files
  if (commit === 0) return // its name goes, and with it what is known of it
  // Two requests: before it takes the second one, the fs thread has read its mailbox.
  nodeIdOf(fuseDir, name)
  cache.forgetFile(nodeIdOf(fuseDir, name))
  if (shm === undefined) return
  const wal = new BackedFile("wal", dataDir.path(name, "wal"))
  try {
    if (wal.size() > 0) {
      wal.truncate(0)
      cache.forgetFile(nodeIdOf(fuseDir, `${name}-wal`))
    }
  } finally {
    wal.close()
  }
  restartWalIndex(shm, { pageSize, commit }, clock.random())
}

async function untilDone(
  { clock, log, signal }: FileSwitchOptions,
  name: string,
  step: () => void,
): Promise<void> {
  for (;;) {
    try {
      return step()
    } catch (error) {
      log.error("cannot take a snapshot over, clients wait", { db: name, error })
      await sleep(clock, RETRY_MS, signal)
    }
  }
}

function isInWalMode(path: string): boolean {
  using file = FileSource.open(path)
  if (file === undefined) return false
  const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
  const header = decodeDatabaseHeader(bytes.subarray(0, file.readAt(0, bytes)))
  return header !== undefined && isWalMode(header)
}
