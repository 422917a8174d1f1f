/**
 * The content of a SQLite database file as SQLite would read it: with the commits of the WAL beside it, and in one
 * state even while other programs use it.
 *
 *   lock ─▶ hot journal? refuse ─▶ which pages are in the WAL ─▶ parts … ─▶ unchanged? ─▶ unlock
 *
 * The locks are SQLite's. SHARED on the database keeps writers from changing it in rollback modes, and a last client
 * from taking the WAL away. READ0 and READ1 on the `-shm` file keep checkpoints from writing to the database and
 * writers from starting the WAL anew: both files can only grow. Where such locks are missing, times and sizes tell at
 * the end whether somebody wrote. SQLite: wal.c, walRestartLog and walCheckpoint.
 */
import { type BigIntStats, constants, existsSync, realpathSync } from "node:fs"
import { type FileHandle, open, stat } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { untilSeen } from "../../lib/until.ts"
import {
  DATABASE_HEADER_SIZE,
  type DatabaseHeader,
  decodeDatabaseHeader,
  isWalMode,
} from "../../sqlite/database-header.ts"
import { isJournalActive, readJournalHeader, readSuperJournalName } from "../../sqlite/journal.ts"
import {
  PENDING_BYTE,
  RESERVED_BYTE,
  SHARED_FIRST,
  SHARED_SIZE,
  walReadLock,
} from "../../sqlite/lock-bytes.ts"
import { WAL_FRAME_HEADER_SIZE, walFrameOffset } from "../../sqlite/wal.ts"
import { WalReader } from "../../sqlite/wal-reader.ts"
import { FileSource } from "../../store/ltx/file-source.ts"
import { errnoText, SysError } from "../../sys/errno.ts"
import { closeFile, type Fd, O_RDONLY, openFile, openIfExists } from "../../sys/file.ts"
import { isLockedByOther, tryLock, unlock } from "../../sys/locks.ts"

const PART_SIZE = 256 * 1024 // a multiple of every page size
const LOCK_MS_MAX = 10_000
const LOCK_RETRY_MS = 20

/** Pages that the WAL holds, by number, with their places. */
interface WalPages {
  readonly offsets: ReadonlyMap<number, number>
  readonly pageSize: number
  readonly commit: number // pages of the database
}

export class DatabaseSource {
  readonly #path: string
  readonly #file: FileHandle
  readonly #fds: Fd[] = []
  #wal: FileHandle | undefined
  #pages: WalPages | undefined
  #size = 0 // bytes
  #before: readonly (BigIntStats | undefined)[] = []
  #mayLackWal = false

  private constructor(path: string, file: FileHandle) {
    this.#path = path
    this.#file = file
  }

  /** Throws when there is no intact database. Others judge what is no database at all. */
  static async open(path: string, clock: Clock): Promise<DatabaseSource> {
    const file = await openToRead(path)
    const source = new DatabaseSource(path, file)
    try {
      const status = await file.stat()
      if (!status.isFile()) throw source.#refusal("it is not a file")
      await source.#prepare(clock)
      return source
    } catch (error) {
      await source.close()
      throw error
    }
  }

  /** Whether locks show the file in use in WAL mode, but no WAL is beside it, as under another name of the file. */
  get mayLackWal(): boolean {
    return this.#mayLackWal
  }

  /** Bytes. */
  get size(): number {
    return this.#size
  }

  async *parts(): AsyncGenerator<Uint8Array, void, void> {
    for (let offset = 0; offset < this.#size; ) {
      const bytes = await this.#read(offset, Math.min(PART_SIZE, this.#size - offset))
      offset += bytes.length
      // The end is not reported before the content is known to be good.
      if (offset === this.#size) await this.#finish()
      yield bytes
    }
  }

  async close(): Promise<void> {
    this.#unlock()
    await this.#wal?.close()
    this.#wal = undefined
    await this.#file.close()
  }

  async #prepare(clock: Clock): Promise<void> {
    const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
    const { bytesRead } = await this.#file.read(bytes, 0, bytes.length, 0)
    if (decodeDatabaseHeader(bytes.subarray(0, bytesRead)) !== undefined) {
      const side = sideFiles(realpathSync(this.#path))
      const fd = await this.#lockDatabase(clock)
      this.#refuseHotJournal(side.journal, fd)
      await this.#lockWal(side, clock)
      // It may differ from the one before the locks.
      await this.#file.read(bytes, 0, bytes.length, 0)
      const header = decodeDatabaseHeader(bytes)
      this.#pages = header && this.#pagesOf(side.wal, header)
      const isAlone = header !== undefined && isWalMode(header) && !existsSync(side.wal)
      this.#mayLackWal = isAlone && isLocked(fd, SHARED_FIRST) // by those who have it open
      if (this.#pages !== undefined) this.#wal = await open(side.wal)
    }
    const size = Number((await this.#file.stat()).size)
    this.#size = this.#pages === undefined ? size : this.#pages.commit * this.#pages.pageSize
    this.#before = await this.#status()
  }

  /** As SQLite takes SHARED. */
  async #lockDatabase(clock: Clock): Promise<Fd> {
    const fd = openFile("import:open", this.#path, O_RDONLY)
    this.#fds.push(fd)
    await this.#lock(clock, () => {
      if (!tryLock(fd, "shared", PENDING_BYTE, 1)) return false
      const isLocked = tryLock(fd, "shared", SHARED_FIRST, SHARED_SIZE)
      unlock(fd, PENDING_BYTE, 1)
      return isLocked
    })
    return fd
  }

  async #lockWal({ wal, shm }: SideFiles, clock: Clock): Promise<void> {
    if (!existsSync(wal)) return
    const fd = openIfExists("import:open-shm", shm, O_RDONLY)
    if (fd === undefined) return
    this.#fds.push(fd)
    for (const index of [0, 1]) {
      await this.#lock(clock, () => tryLock(fd, "shared", walReadLock(index), 1))
    }
  }

  async #lock(clock: Clock, attempt: () => boolean): Promise<void> {
    try {
      if (await untilSeen(attempt, { clock, limitMs: LOCK_MS_MAX, pauseMs: LOCK_RETRY_MS })) return
    } catch (error) {
      // The file system has no locks: nobody holds one.
      if (error instanceof SysError) return
      throw error
    }
    throw this.#refusal("another program keeps it locked, try again when it is done")
  }

  #refuseHotJournal(path: string, fd: Fd): void {
    using journal = FileSource.open(path)
    if (journal === undefined || !isJournalActive(journal)) return
    if (readJournalHeader(journal) === undefined) return
    if (isLocked(fd, RESERVED_BYTE)) return // its writer lives, and has written nothing yet
    const superJournal = readSuperJournalName(journal)
    if (superJournal !== undefined && !existsSync(superJournal)) return // it has committed
    const problem = `"${path}" holds what an interrupted transaction has overwritten`
    throw this.#refusal(`${problem}, make a whole file first: ${backup(this.#path)}`)
  }

  /** Undefined when the WAL has no commits. */
  #pagesOf(path: string, { pageSize }: DatabaseHeader): WalPages | undefined {
    using wal = FileSource.open(path)
    if (wal === undefined) return undefined
    const reader = new WalReader(wal)
    if (reader.header === undefined) return undefined
    const offsets = new Map<number, number>()
    let pending: [pgno: number, offset: number][] = []
    let commit = 0
    while (reader.next()) {
      const offset = walFrameOffset(reader.frameCount - 1, reader.header.pageSize)
      pending.push([reader.pgno, offset + WAL_FRAME_HEADER_SIZE])
      if (reader.commit === 0) continue
      commit = reader.commit
      for (const [pgno, at] of pending) offsets.set(pgno, at)
      pending = []
    }
    if (commit === 0) return undefined
    if (reader.header.pageSize !== pageSize) {
      const problem = `"${path}" has pages of another size and belongs to another database`
      throw this.#refusal(`${problem}, remove it if that is so`)
    }
    return { offsets, pageSize, commit }
  }

  async #read(offset: number, size: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(size)
    for (let done = 0; done < size; ) {
      const { bytesRead } = await this.#file.read(bytes, done, size - done, offset + done)
      if (bytesRead === 0) {
        if (this.#pages === undefined) throw this.#refusal("it became shorter while it was read")
        break // the rest is in the WAL
      }
      done += bytesRead
    }
    if (this.#pages === undefined) return bytes
    const { offsets, pageSize } = this.#pages
    for (let start = 0; start < size; start += pageSize) {
      const at = offsets.get((offset + start) / pageSize + 1)
      if (at !== undefined) await this.#wal?.read(bytes, start, pageSize, at)
    }
    return bytes
  }

  /** The last part was read. */
  async #finish(): Promise<void> {
    const after = await this.#status()
    const isSame = after.every((status, index) => {
      const before = this.#before[index]
      if (status?.size !== before?.size && index === 0) return false
      // Data appended to the WAL belongs to later transactions.
      if (index === 1) return (status?.size ?? 0n) >= (before?.size ?? 0n)
      return status?.mtimeNs === before?.mtimeNs
    })
    if (!isSame) {
      throw this.#refusal(
        `another program wrote to it while it was read, make a copy first: ${backup(this.#path)}`,
      )
    }
    this.#unlock() // it may be the very database to replace
  }

  async #status(): Promise<readonly (BigIntStats | undefined)[]> {
    const { wal } = sideFiles(realpathSync(this.#path))
    return [
      await this.#file.stat({ bigint: true }),
      await stat(wal, { bigint: true }).catch(() => undefined),
    ]
  }

  #unlock(): void {
    for (const fd of this.#fds.splice(0)) closeFile(fd)
  }

  #refusal(problem: string): LitefsError {
    return new LitefsError("io", `Cannot import "${this.#path}": ${problem}`)
  }
}

async function openToRead(path: string): Promise<FileHandle> {
  try {
    // Opening a named pipe would wait for ever.
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    const { code, errno = 0 } = error as NodeJS.ErrnoException
    const problem = code === "ENOENT" ? "there is no such file" : errnoText(Math.abs(errno))
    throw new LitefsError("io", `Cannot import "${path}": ${problem}`, { cause: error })
  }
}

interface SideFiles {
  readonly wal: string
  readonly shm: string
  readonly journal: string
}

/** SQLite's names, or those of a data directory of LiteFS. */
function sideFiles(path: string): SideFiles {
  const directory = dirname(path)
  if (basename(path) === "database" && existsSync(join(directory, "ltx"))) {
    return {
      wal: join(directory, "wal"),
      shm: join(directory, "shm"),
      journal: join(directory, "journal"),
    }
  }
  return { wal: `${path}-wal`, shm: `${path}-shm`, journal: `${path}-journal` }
}

function isLocked(fd: Fd, byte: number): boolean {
  try {
    return isLockedByOther(fd, "exclusive", byte, 1)
  } catch (error) {
    if (error instanceof SysError) return false
    throw error
  }
}

function backup(path: string): string {
  return `sqlite3 "${path}" ".backup COPY"`
}
