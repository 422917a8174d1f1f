/**
 * Applies transactions to the database file itself, while no client is in a transaction.
 *
 * 1. The pages are written to the backing file, the kernel forgets what it had cached of them, and only then
 *    the lock is given up: whoever reads next reads all of the transaction or, before, none of it.
 * 2. In WAL mode the WAL stays empty. Each transaction changes the head of the wal-index as a commit would, by
 *    which clients know that what they have cached is old (SQLite: walIndexTryHdr).
 * 3. A crash in the middle leaves a torn database file, and an LTX file from which recovery makes it whole.
 */
import { decodeDatabaseHeader, isWalMode } from "../sqlite/database-header.ts"
import { readWalIndexHeader, WAL_INDEX_HEADER_SIZE } from "../sqlite/wal-index.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { readLtxFile } from "../store/ltx-file.ts"
import { type Fd, readAt } from "../sys/file.ts"
import { allocate } from "../sys/memory.ts"
import type { Application, Applier } from "./applier.ts"
import type { KernelCache } from "./kernel-cache.ts"
import type { MountedFiles } from "./mounted-files.ts"
import { writeHeaders } from "./wal-publisher.ts"

const page = allocate(65536)
const HEADERS_SIZE = 2 * WAL_INDEX_HEADER_SIZE

export class ExclusiveApplier implements Applier {
  readonly #database: BackedFile
  readonly #files: MountedFiles
  readonly #cache: KernelCache

  constructor(database: BackedFile, files: MountedFiles, cache: KernelCache) {
    this.#database = database
    this.#files = files
    this.#cache = cache
  }

  async apply(application: Application): Promise<void> {
    this.#database.create()
    if (application.isNew) {
      // Nobody can have a database open that does not exist: no locks, and the name comes last.
      this.#writePages(application)
      application.publish()
      return
    }
    const isWal = this.#isWalMode()
    await this.#files.attach(isWal)
    await this.#files.exclusively(isWal, () => {
      this.#writePages(application)
      const { pageSize, commit } = application.header
      this.#cache.forgetPages(this.#files.nodeId, pageSize, application.pgnos)
      const { shm } = this.#files
      if (shm !== undefined) updateWalIndex(shm, pageSize, commit)
      application.publish()
    })
  }

  detach(): void {
    this.#files.detach()
  }

  #writePages({ path, header, overwriting }: Application): void {
    readLtxFile(path, {
      page: (pgno, data) => {
        const offset = (pgno - 1) * header.pageSize
        overwriting(offset, header.pageSize)
        page.bytes.set(data)
        this.#database.write(page.address, header.pageSize, offset)
      },
    })
    const size = header.commit * header.pageSize
    if (this.#database.size() === size) return
    overwriting(size, Number.MAX_SAFE_INTEGER - size)
    this.#database.truncate(size)
  }

  #isWalMode(): boolean {
    const n = this.#database.read(page.address, 100, 0)
    const header = decodeDatabaseHeader(page.bytes.subarray(0, n))
    return header !== undefined && isWalMode(header)
  }
}

/**
 * Tells clients in WAL mode that there was a transaction and how large the database is now. An index that no
 * client has made yet is left alone: whoever comes first builds it from the WAL, which is empty.
 */
function updateWalIndex(shm: Fd, pageSize: number, pageCount: number): void {
  const n = readAt("mount:read", shm, page.address, HEADERS_SIZE, 0)
  if (n < HEADERS_SIZE) return
  const header = readWalIndexHeader(page.bytes.subarray(0, HEADERS_SIZE))
  if (header === undefined) return
  writeHeaders(shm, {
    ...header,
    change: (header.change + 1) >>> 0,
    frameCount: 0,
    pageSize,
    pageCount,
  })
}
