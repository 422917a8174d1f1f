/**
 * The first box of a node: its data directory, the two threads that have the databases, and the mount.
 *
 *   new: lock the directory ─▶ give files their owners ─▶ connect the threads
 *   start(): recover the databases ─▶ mount ─▶ answer the mount
 *
 * It knows nothing of other nodes. What clients want of them goes to the part that start() gets.
 */
import { systemClock } from "../../lib/clock.ts"
import { logger } from "../../lib/log.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import { DataDir } from "../../store/data-dir.ts"
import { SharedLag } from "../../store/shared-lag.ts"
import { closeFile } from "../../sys/file.ts"
import type { FileAccess } from "../../sys/file-access.ts"
import { accessOfDirectory } from "../../sys/mount.ts"
import { keepSpareDescriptors } from "../../sys/spare-descriptors.ts"
import { DatabaseFilter } from "../../wire/database-filter.ts"
import type { Closing } from "../closing.ts"
import { Databases } from "./databases.ts"
import { LogSegments } from "./log-segments.ts"
import { type ThreadRole, Threads, type Workers } from "./threads.ts"

const log = logger("litefs")

const SPARE_DESCRIPTORS = 16

export interface StorageContext {
  readonly options: LiteFSOptions
  readonly workers: Workers
  readonly closing: Closing
  /** A thread cannot go on. */
  fail(error: Error): void
}

export class Storage {
  readonly dataDir: DataDir
  /** The only databases of the node; all when it is undefined. */
  readonly filter: DatabaseFilter | undefined
  readonly databases = new Databases()
  readonly lag = SharedLag.create(false)
  readonly threads: Threads
  readonly #closing: Closing

  constructor({ options, workers, closing, fail }: StorageContext) {
    const { databases, lag } = this
    const { role } = options
    const patterns = role.kind === "primary" ? undefined : role.databases
    this.filter = patterns && DatabaseFilter.of(patterns)
    const access = newFileAccess(options)
    const dataDir = new DataDir(options.dataDir, this.filter, access)
    dataDir.create()
    const lock = dataDir.lock()
    closing.defer(() => closeFile(lock))
    keepSpares(databases)
    adoptFiles(dataDir, access)
    dataDir.createImports()
    const segments = new LogSegments({
      ...{ root: dataDir.root, clock: systemClock },
      ready: (segment) => databases.flags.setSegmentFree(segment, true),
    })
    closing.add("commit log", () => segments.close())
    this.dataDir = dataDir
    this.threads = new Threads(workers, {
      options,
      dataDir,
      access,
      databases,
      lag,
      segments,
      fail,
    })
    this.#closing = closing
  }

  /** Resolves when the mount answers, with the databases whose saved checksums were believed. */
  async start(role: ThreadRole): Promise<readonly string[]> {
    const { threads } = this
    const believed = await threads.start(role)
    threads.mount()
    this.#closing.add("mount", () => threads.unmount())
    await threads.serve()
    return believed
  }
}

/** For this thread. The peer thread has the same table of descriptors, and spare ones of its own. */
function keepSpares({ flags }: Databases): void {
  keepSpareDescriptors({
    count: SPARE_DESCRIPTORS,
    leavesOne: true,
    isUrgent: () => true,
    onShort: (isShort) => {
      flags.setShort("main", isShort)
      if (isShort) log.warn("no more files can be opened, raise the limit (ulimit -n)")
    },
  })
}

type AccessOptions = Pick<LiteFSOptions, "fuseDir" | "fuseOwner" | "fuseMode">

/**
 * Of files that no client of the mount makes: those of a replica, and of imported databases. Undefined when there is no
 * directory: nothing can be mounted then.
 */
function newFileAccess({ fuseDir, fuseOwner, fuseMode }: AccessOptions) {
  const directory = accessOfDirectory(fuseDir)
  if (directory === undefined) return undefined
  const { uid, gid } = fuseOwner ?? directory
  return { uid, gid, mode: fuseMode ?? fileModeIn(directory.mode) }
}

/**
 * The owner reads and writes. So does the group, if it may enter the directory at all: SQLite's readers write to the
 * wal-index. Others may do what they may do with the directory.
 */
function fileModeIn(directoryMode: number): number {
  const group = (directoryMode & 0o010) === 0 ? 0 : 0o060
  return 0o600 | group | (directoryMode & 0o006)
}

function adoptFiles(dataDir: DataDir, access: FileAccess | undefined): void {
  const files = dataDir.adoptFiles()
  if (files === 0 || access === undefined) return
  const { uid, gid, mode } = access
  const owner = `${uid}:${gid}`
  log.info("files of databases had no owners, setting them once", {
    ...{ files, owner, mode: mode.toString(8) },
  })
}
