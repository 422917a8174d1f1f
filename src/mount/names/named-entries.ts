/**
 * What the names of the mount stand for: which files there are, the entry of an existing file, and one for a file that
 * a client makes.
 */
import { FuseError } from "../../fuse/fuse-error.ts"
import { BackedFile } from "../../store/backed-file.ts"
import { Errno } from "../../sys/errno.ts"
import type { FileAccess } from "../../sys/file-access.ts"
import { databaseNameProblem } from "../../wire/database-name.ts"
import type { HaltFlocks } from "../databases/halt-flocks.ts"
import type { MountedDatabase, MountedDatabaseContext } from "../databases/mounted-database.ts"
import type { MountedDatabases } from "../databases/mounted-databases.ts"
import { DatabaseEntry } from "../files/database.ts"
import type { FileEntry } from "../files/entry.ts"
import { JournalEntry, RefusedJournalEntry } from "../files/journal.ts"
import { LagEntry } from "../files/lag.ts"
import { LockEntry } from "../files/lock.ts"
import { PosEntry } from "../files/pos.ts"
import { PrimaryEntry } from "../files/primary.ts"
import type { Root } from "../files/root.ts"
import { ShmEntry } from "../files/shm.ts"
import { SideFileEntry } from "../files/side-file.ts"
import { WalEntry } from "../files/wal.ts"
import { checkNewDatabaseName, parseFileName } from "./file-name.ts"

export class NamedEntries {
  readonly #context: MountedDatabaseContext
  readonly #databases: MountedDatabases
  readonly #root: Root
  readonly #halts: HaltFlocks
  readonly #startedMs: number

  constructor(
    context: MountedDatabaseContext,
    databases: MountedDatabases,
    root: Root,
    halts: HaltFlocks,
    startedMs: number,
  ) {
    this.#context = context
    this.#databases = databases
    this.#root = root
    this.#halts = halts
    this.#startedMs = startedMs
  }

  /** All names but those that only a lookup finds. */
  names(): string[] {
    const { role, positions, dataDir } = this.#context
    const names = [".lag"]
    if (role.primaryName !== undefined) names.push(".primary")
    const databases = [...positions.entries()].map(([name]) => name)
    for (const name of databases.sort()) {
      if (this.#databases.find(name)?.database.open() !== true) continue
      names.push(name, `${name}-pos`, `${name}-journal`, `${name}-shm`, `${name}-wal`)
    }
    return [...names, ...dataDir.sideNames()]
  }

  /** Undefined when there is no such file. */
  find(name: string, nodeId: number): FileEntry | undefined {
    const { role, positions } = this.#context
    const { kind, database: databaseName } = parseFileName(name)
    if (kind === "primary") {
      return role.primaryName === undefined
        ? undefined
        : new PrimaryEntry(nodeId, name, this.#root, role)
    }
    if (kind === "lag") return new LagEntry(nodeId, name, this.#root, this.#context)
    if (kind === "side") {
      const file = this.#sideFile(name)
      return file.open() ? new SideFileEntry(nodeId, name, file) : undefined
    }
    const database = this.#databases.find(databaseName)
    if (database === undefined) return undefined
    if (kind === "pos") return new PosEntry(nodeId, name, positions, database)
    if (kind === "lock") return new LockEntry(nodeId, name, database, this.#halts, this.#startedMs)
    return database[kind].open() ? newEntry(nodeId, name, kind, database) : undefined
  }

  /**
   * Makes the file, for a client with `access`. `thread` is the kernel's id of the client's thread. Throws when this
   * name cannot be made here.
   */
  make(name: string, nodeId: number, access: FileAccess | undefined, thread: number): FileEntry {
    const fileName = parseFileName(name)
    switch (fileName.kind) {
      case "side":
        return this.#makeSideFile(name, nodeId, access)
      case "database":
        return this.#makeDatabase(name, nodeId, access)
      case "journal":
      case "wal":
      case "shm":
        return this.#makeFileOf(fileName.database, fileName.kind, name, nodeId, access, thread)
      case "lock":
        throw FuseError.of(Errno.ENOENT) // there is no such database, or the file would be there
      default:
        throw FuseError.of(Errno.EACCES) // reserved
    }
  }

  #makeSideFile(name: string, nodeId: number, access: FileAccess | undefined): FileEntry {
    if (!this.#databases.areWritable) throw FuseError.of(Errno.EACCES)
    const file = this.#sideFile(name)
    file.make(access)
    return new SideFileEntry(nodeId, name, file)
  }

  #makeDatabase(name: string, nodeId: number, access: FileAccess | undefined): FileEntry {
    const { role, log, dataDir } = this.#context
    if (!role.isPrimary || !log.isOpen) throw FuseError.of(Errno.EACCES)
    checkNewDatabaseName(name)
    this.#refuseBadName(name)
    const areNew = dataDir.makeDirectories(name)
    const database = this.#databases.find(name) ?? this.#databases.addNew(name)
    database.make(access, areNew)
    return new DatabaseEntry(nodeId, name, database)
  }

  /** A replica could not have the database, nor could a command name it. */
  #refuseBadName(name: string): void {
    const problem = databaseNameProblem(name)
    if (problem === undefined) return
    this.#context.refusals.say(`Cannot make ${JSON.stringify(name)}: ${problem}`, name)
    throw FuseError.of(Errno.EACCES)
  }

  #makeFileOf(
    databaseName: string,
    kind: "journal" | "wal" | "shm",
    name: string,
    nodeId: number,
    access: FileAccess | undefined,
    thread: number,
  ): FileEntry {
    const database = this.#databases.find(databaseName)
    if (database === undefined) throw FuseError.of(Errno.ENOENT)
    if (kind === "journal" && database.capture === undefined) {
      database.complainAboutWrite(thread)
      return new RefusedJournalEntry(nodeId, name, database, this.#context.clock.wallMs())
    }
    database[kind].make(access ?? database.access)
    return newEntry(nodeId, name, kind, database)
  }

  #sideFile(name: string): BackedFile {
    return new BackedFile("side", this.#context.dataDir.sidePath(name))
  }
}

function newEntry(
  nodeId: number,
  name: string,
  kind: "database" | "journal" | "wal" | "shm",
  database: MountedDatabase,
): FileEntry {
  switch (kind) {
    case "database":
      return new DatabaseEntry(nodeId, name, database)
    case "journal":
      return new JournalEntry(nodeId, name, database, database.journal)
    case "wal":
      return new WalEntry(nodeId, name, database, database.wal)
    case "shm":
      return new ShmEntry(nodeId, name, database)
  }
}
