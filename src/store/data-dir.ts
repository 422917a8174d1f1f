/**
 * Where a node keeps its data. The layout is LiteFS's, so that one binary can be stopped and the other started.
 *
 *   <root>/clusterid                                   "LFSC" and 16 hex digits, newline
 *   <root>/clusterkey                                  with which lease records are sealed (cluster/role/cluster-key.ts)
 *   <root>/lease.json                                  which node is the primary (cluster/role/static-lease.ts)
 *   <root>/dbs/<name>/database | journal | wal | shm   SQLite's files
 *   <root>/dbs/<name>/ltx/<min>-<max>.ltx              the log: one file per transaction
 *   <root>/dbs/<name>/synced                           how far the database file is durable (synced.ts)
 *   <root>/dbs/<name>/past                             positions of removed LTX files (past-positions.ts)
 *   <root>/dbs/<name>/checksums                        page checksums since the last clean stop
 *   <root>/dbs/<name>/sums                             page checksums of a running node (recovery/kept-sums.ts)
 *   <root>/dbs/<name>/written                          when it wrote to the database file (noted-file.ts)
 *   <root>/dbs/<name>/undo                             old pages that the journal does not have (undo-file.ts)
 *   <root>/dbs/<name>/next-<number>.ltx | .database    a snapshot that is being received (peer/receive/incoming-file.ts)
 *   <root>/dbs/<name>/takeover                         a snapshot that is to take over (diverged/takeover.ts)
 *   <root>/commit-log.0, .1                            where transactions become durable (commit-log.ts)
 *   <root>/commit-log.<n>.tmp                          one of them that is being prepared (log-segment.ts)
 *   <root>/spare/<number>                              files for LTX files to come (spare-files.ts)
 *   <root>/side/<name>                                 files that pass through unreplicated (super-journals)
 *   <root>/import/<number>, .ltx, .sums, .old          databases on their way in
 *   <root>/import/body-<number>                        large bodies of requests (http/roles/spool.ts)
 *   <root>/diverged/<time>-<name>-<pos>/               histories that lost against the primary's, and are kept
 *   <root>/mounted                                     the device of the mount, while it may be in use
 *   <root>/owners                                      SQLite's files have the owners that clients chose
 *   <root>/lock                                        held by the daemon that uses the directory
 *
 * What the daemon makes here is for itself alone: directories 0700, files 0600. SQLite's files have the owner and the
 * mode that clients of the mount see and change, because they are stored with the files. Whatever their mode, the
 * directories around them keep others out. A directory that existed before stays as it is.
 */
import { dirname, join } from "node:path"
import { LitefsError } from "../lib/errors.ts"
import { listDirectory, makeDirectory, removeDirectory, syncDirectory } from "../sys/directory.ts"
import {
  closedOnError,
  closeFile,
  type Fd,
  fileExists,
  O_CREAT,
  O_RDWR,
  openFile,
  readStart,
  tryLockFile,
  unlinkFile,
  writeBytesAt,
} from "../sys/file.ts"
import { type FileAccess, giveAccess } from "../sys/file-access.ts"
import { noDirectoryAt } from "../sys/file-status.ts"
import { DatabaseFilter } from "../wire/database-filter.ts"
import { databaseNameProblem, SUPER_JOURNAL } from "../wire/database-name.ts"
import { BackedFile } from "./backed-file.ts"
import { NotedFile } from "./noted-file.ts"

/** The files of an arriving snapshot: the LTX file, and the database file that it makes. */
export type NextFile = "ltx" | "database"

export type DatabaseFile = "database" | "journal" | "wal" | "shm"

const DATABASE_FILES: readonly DatabaseFile[] = ["database", "journal", "wal", "shm"]

/** The number of a process and spaces. */
const LOCK_SIZE = 16

export class DataDir {
  readonly root: string
  readonly #databases: DatabaseFilter
  readonly #access: FileAccess | undefined

  /**
   * Databases that are not selected are neither read nor changed. `access` is the access of files of databases that no
   * client makes.
   */
  constructor(
    root: string,
    databases: DatabaseFilter = DatabaseFilter.all,
    access: FileAccess | undefined = undefined,
  ) {
    this.root = root
    this.#databases = databases
    this.#access = access
  }

  databaseDir(name: string): string {
    return join(this.root, "dbs", name)
  }

  path(name: string, file: DatabaseFile): string {
    return join(this.root, "dbs", name, file)
  }

  file(name: string, file: DatabaseFile): BackedFile {
    return new BackedFile(file, this.path(name, file), this.#access)
  }

  /** The database file, for the thread that writes to it. */
  databaseFile(name: string): NotedFile {
    return new NotedFile(this.path(name, "database"), this.writtenPath(name), this.#access)
  }

  /** Whether any of SQLite's files exists. */
  hasFiles(name: string): boolean {
    return DATABASE_FILES.some((kind) => fileExists(`${kind}:look`, this.path(name, kind)))
  }

  ltxDir(name: string): string {
    return join(this.root, "dbs", name, "ltx")
  }

  syncedPath(name: string): string {
    return join(this.root, "dbs", name, "synced")
  }

  checksumsPath(name: string): string {
    return join(this.root, "dbs", name, "checksums")
  }

  sumsPath(name: string): string {
    return join(this.root, "dbs", name, "sums")
  }

  writtenPath(name: string): string {
    return join(this.root, "dbs", name, "written")
  }

  undoPath(name: string): string {
    return join(this.root, "dbs", name, "undo")
  }

  sidePath(name: string): string {
    return join(this.root, "side", name)
  }

  /** Without a label, the directory of all histories that were set aside. */
  divergedDir(label = ""): string {
    return join(this.root, "diverged", label)
  }

  nextPath(name: string, number: number, file: NextFile): string {
    return join(this.root, "dbs", name, `next-${number}.${file}`)
  }

  pastPath(name: string): string {
    return join(this.root, "dbs", name, "past")
  }

  takeoverPath(name: string): string {
    return join(this.root, "dbs", name, "takeover")
  }

  get clusterIdPath(): string {
    return join(this.root, "clusterid")
  }

  get clusterKeyPath(): string {
    return join(this.root, "clusterkey")
  }

  /** Where the API answers for processes of this user. */
  get socketPath(): string {
    return join(this.root, "api.sock")
  }

  get leasePath(): string {
    return join(this.root, "lease.json")
  }

  exists(): boolean {
    return fileExists("data:look", this.root)
  }

  /** Makes the missing ones of the directories above. */
  create(): void {
    const isNew = makeParents(this.root)
    const made = ["dbs", "side"].filter((name) => {
      return makeDirectory("data:mkdir", join(this.root, name))
    })
    if (made.length > 0) syncDirectory("data:sync-dir", this.root)
    if (isNew || made.includes("dbs")) this.#markOwners()
  }

  /**
   * Earlier versions kept neither owners nor modes: everybody could use SQLite's files. This gives such files, once,
   * the access of files that no client makes. From then on their access is the clients' business. Returns the number of
   * files.
   */
  adoptFiles(): number {
    if (fileExists("data:look", this.#ownersPath)) return 0
    let count = 0
    for (const name of this.databaseNames()) {
      for (const kind of DATABASE_FILES) {
        const file = this.file(name, kind)
        try {
          if (this.#access === undefined || !file.open()) continue
          giveAccess(`${kind}:access`, file.fd, this.#access)
          count += 1
        } catch (error) {
          // Recovery refuses that database.
          if (!(error instanceof LitefsError)) throw error
        } finally {
          file.close()
        }
      }
    }
    this.#markOwners()
    return count
  }

  #markOwners(): void {
    closeFile(openFile("data:open", this.#ownersPath, O_RDWR | O_CREAT))
  }

  get #ownersPath(): string {
    return join(this.root, "owners")
  }

  /**
   * The directories of a database are durable when this returns: the commit log does not know them, and a transaction
   * in it is worth nothing without them.
   */
  createDatabase(name: string): void {
    if (this.makeDirectories(name)) this.syncDirectories(name)
  }

  /**
   * The same, but perhaps not on the disk yet: then syncDirectories() is due before the first transaction, and this
   * returns true.
   */
  makeDirectories(name: string): boolean {
    const is = noDirectoryAt(this.databaseDir(name))
    if (is !== undefined) {
      const problem = `"${this.databaseDir(name)}" is ${is}, it should be a directory`
      throw new LitefsError("damaged", `Cannot make database "${name}": ${problem}`)
    }
    const directories = [this.databaseDir(name), this.ltxDir(name)]
    const made = directories.filter((path) => makeDirectory("data:mkdir", path))
    // Until there is an LTX file, an earlier attempt may have made the directories without syncing them.
    return made.length > 0 || listDirectory("ltx:list", this.ltxDir(name)).length === 0
  }

  syncDirectories(name: string): void {
    for (const path of [this.databaseDir(name), this.ltxDir(name)]) {
      syncDirectory("data:sync-dir", dirname(path))
    }
  }

  /** Takes back createDatabase() of a database that came to nothing. */
  removeDatabase(name: string): void {
    unlinkFile("written:unlink", this.writtenPath(name))
    unlinkFile("undo:unlink", this.undoPath(name))
    removeDirectory("data:rmdir", this.ltxDir(name))
    removeDirectory("data:rmdir", this.databaseDir(name))
  }

  /** Where an incoming database is kept until it is in its place. */
  importPath(file: number): string {
    return join(this.root, "import", `${file}`)
  }

  /** The transaction of an incoming database, and the checksums of its pages: see peer/serve/import-preparation.ts. */
  importLtxPath(file: number): string {
    return `${this.importPath(file)}.ltx`
  }

  importSumsPath(file: number): string {
    return `${this.importPath(file)}.sums`
  }

  /** Where the body of a request is kept while the request lasts. */
  spoolPath(number: number): string {
    return `${join(this.root, "import", "body")}-${number}`
  }

  /** The database file that an incoming database has replaced. */
  importOldPath(file: number): string {
    return `${this.importPath(file)}.old`
  }

  /** Makes the directory of importPath(), empty: nobody needs what a crash has left there. */
  createImports(): void {
    const directory = join(this.root, "import")
    if (makeDirectory("data:mkdir", directory)) return
    for (const entry of listDirectory("import:list", directory)) {
      // An import that needs its name says so.
      if (!entry.isDirectory()) unlinkFile("import:unlink", join(directory, entry.name))
    }
  }

  /** Names of the selected databases that have a directory, sorted. */
  databaseNames(): string[] {
    return this.#directoryNames()
      .filter((name) => databaseNameProblem(name) === undefined)
      .sort()
  }

  /**
   * Names of the selected directories that no database may have, for the log: no replica would take them. The original
   * keeps super-journals as databases; nobody misses those.
   */
  unusableNames(): string[] {
    return this.#directoryNames()
      .filter((name) => databaseNameProblem(name) !== undefined && !SUPER_JOURNAL.test(name))
      .sort()
  }

  #directoryNames(): string[] {
    return listDirectory("data:list", join(this.root, "dbs"))
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
      .filter((name) => this.#databases.matches(name))
  }

  /** Names of the selected databases that something else than a directory has: nobody can have these databases. */
  takenNames(): string[] {
    return listDirectory("data:list", join(this.root, "dbs"))
      .filter((entry) => !entry.isDirectory())
      .map((entry) => entry.name)
      .filter((name) => this.#databases.matches(name) && databaseNameProblem(name) === undefined)
      .sort()
  }

  sideNames(): string[] {
    return listDirectory("data:list", join(this.root, "side"))
      .map((entry) => entry.name)
      .sort()
  }

  /** Names the mount that the daemon has made, while it may be in use. */
  get mountedPath(): string {
    return join(this.root, "mounted")
  }

  /** The lock, or undefined when another process has it. */
  tryLock(): Fd | undefined {
    const fd = openFile("data:lock", this.#lockPath, O_RDWR | O_CREAT)
    return closedOnError(fd, () => {
      if (!tryLockFile(fd)) return void closeFile(fd)
      writeBytesAt("data:lock", fd, new TextEncoder().encode(`${process.pid}`.padEnd(LOCK_SIZE)), 0)
      return fd
    })
  }

  /** The process that keeps others from the lock, by its own account; undefined when none does. */
  lockHolder(): number | undefined {
    const fd = this.tryLock()
    if (fd !== undefined) {
      closeFile(fd)
      return undefined
    }
    const pid = Number.parseInt(
      new TextDecoder().decode(readStart("data:lock", this.#lockPath, LOCK_SIZE)),
      10,
    )
    return Number.isInteger(pid) ? pid : undefined
  }

  get #lockPath(): string {
    return join(this.root, "lock")
  }

  /** Two daemons on one directory would destroy it. The lock goes with the process, however it ends. */
  lock(): Fd {
    const fd = this.tryLock()
    if (fd !== undefined) return fd
    throw new LitefsError(
      "unavailable",
      `Cannot use data directory "${this.root}": another litefs uses it, stop that one or choose another --data-dir`,
    )
  }
}

/** The data directory, ours or the original's, that a path without symbolic links leads into, if any. */
export function dataDirAbove(path: string): string | undefined {
  const has = (root: string, name: string) => fileExists("data:look", join(root, name))
  for (let root = dirname(path); ; root = dirname(root)) {
    if (has(root, "dbs") && (has(root, "lock") || has(root, "clusterid"))) return root
    if (root === dirname(root)) return undefined
  }
}

/** The directory itself is for the daemon alone, its parents are like any other. True when it was not there. */
function makeParents(path: string): boolean {
  const parts = path.split("/")
  for (let count = 2; count < parts.length; count++) {
    makeDirectory("data:mkdir", parts.slice(0, count).join("/"), 0o777)
  }
  return makeDirectory("data:mkdir", path)
}
