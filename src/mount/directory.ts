/**
 * The mounted directory: names, nodes and who may make and remove what.
 *
 * A node is made when the kernel first asks for a name and lives until the kernel forgets it. A file that is
 * removed while open keeps its node; the name is then free for another.
 *
 * On the primary every change comes through here, so the kernel may believe what it knows for as long as it
 * likes. What the daemon itself changes (on a replica) the peer thread tells the kernel. Names of files that
 * we make up (`-pos`, `.primary`) come and go by themselves: their absence is never remembered.
 */

import { type DatabaseHandover, damagedHandover, historyState } from "../capture/handover.ts"
import type { HistoryState } from "../capture/history.ts"
import { emptyHistoryState } from "../capture/history.ts"
import { Proposal } from "../capture/proposal.ts"
import type { Deferred } from "../fuse/deferred.ts"
import type {
  AttributeChange,
  Attributes,
  Caller,
  DirectoryEntry,
  Entry,
  FileSystem,
  FlockKind,
  LockOwner,
  Opened,
  PosixLock,
  PosixLockRequest,
  Statfs,
} from "../fuse/filesystem.ts"
import { ROOT_ID } from "../fuse/filesystem.ts"
import { Fopen } from "../fuse/flags.ts"
import { FlockTable } from "../fuse/flock-table.ts"
import { FuseError } from "../fuse/fuse-error.ts"
import { must } from "../lib/assert.ts"
import { LitefsError } from "../lib/errors.ts"
import { logger } from "../lib/log.ts"
import { BackedFile } from "../store/backed-file.ts"
import { Errno } from "../sys/errno.ts"
import { fileSystemStatus, O_EXCL } from "../sys/file.ts"
import type { Region } from "../sys/memory.ts"
import { allocate } from "../sys/memory.ts"
import { groupId, userId } from "../sys/thread.ts"
import { DatabaseEntry } from "./database.ts"
import { type FileEntry, FOREVER } from "./entry.ts"
import { FileLocks } from "./file-locks.ts"
import { checkNewDatabaseName, type FileName, parseFileName } from "./file-name.ts"
import { HaltFlocks } from "./halt-flocks.ts"
import { JournalEntry } from "./journal.ts"
import { LagEntry } from "./lag.ts"
import { LockEntry } from "./lock.ts"
import { MountedDatabase, type MountedDatabaseContext } from "./mounted-database.ts"
import { PosEntry } from "./pos.ts"
import { PrimaryEntry } from "./primary.ts"
import { ShmEntry } from "./shm.ts"
import { SideFileEntry } from "./side-file.ts"
import { WalEntry } from "./wal.ts"

const log = logger("mount")

const S_IFDIR = 0o040000

interface Node {
  readonly entry: FileEntry
  references: number // of the kernel
}

export class Directory implements FileSystem {
  readonly #context: MountedDatabaseContext
  readonly #databases = new Map<string, MountedDatabase>()
  readonly #damaged = new Set<string>() // not to be touched; every use of their names is EIO
  readonly #nodes = new Map<number, Node>()
  readonly #names = new Map<string, Node>()
  readonly #flocks = new FlockTable()
  /** Locks on the files `<db>-lock`. */
  readonly halts: HaltFlocks
  readonly #locks = new FileLocks((nodeId) => this.#nodes.get(nodeId)?.entry)
  readonly #uid = userId()
  readonly #gid = groupId()
  readonly #startedMs: number
  #nextNodeId = ROOT_ID + 1
  #nextHandle = 1

  /** `states` are what recovery found, undefined for what is damaged; on a replica the peer thread has them. */
  constructor(
    context: MountedDatabaseContext,
    states: ReadonlyMap<string, HistoryState | undefined>,
  ) {
    this.#context = context
    this.halts = new HaltFlocks({ ...context.halts, flocks: this.#flocks })
    this.#startedMs = context.clock.wallMs()
    for (const [name, state] of states) {
      if (state === undefined) this.#damaged.add(name)
      else this.addDatabase(name, state)
    }
  }

  database(name: string): MountedDatabase | undefined {
    if (this.#damaged.has(name)) throw FuseError.of(Errno.EIO)
    const known = this.#databases.get(name)
    if (known !== undefined) return known
    // On a replica the peer thread makes databases; their slot appears before anything else of them.
    if (this.#context.role.isPrimary || this.#context.positions.find(name) === undefined) return
    return this.addDatabase(name, undefined)
  }

  addDatabase(name: string, state: HistoryState | undefined): MountedDatabase {
    const database = new MountedDatabase(name, this.#context, state)
    this.#databases.set(name, database)
    return database
  }

  /** This node becomes the primary of what another thread has applied so far. */
  takeOver(handovers: readonly DatabaseHandover[]): void {
    for (const handover of handovers) {
      const { name, state } = handover
      if (state === undefined) this.#damaged.add(name)
      else
        (this.#databases.get(name) ?? this.addDatabase(name, undefined)).takeOver(
          handover,
          historyState(state),
        )
    }
  }

  /** This node becomes a replica. Clients write nothing from here on. */
  handOver(): DatabaseHandover[] {
    const handovers = [...this.#damaged].map(damagedHandover)
    this.#damaged.clear()
    for (const database of this.#databases.values()) {
      if (database.isLent) continue // the peer thread has it
      const handover = database.handOver()
      if (handover.isUndone) this.#abandonJournal(database)
      handovers.push(handover)
    }
    return handovers
  }

  /** One database of a primary, whose write lock another node borrows. */
  lend(name: string): DatabaseHandover {
    const database = this.#known(name)
    const handover = database.lend()
    if (handover.isUndone) this.#abandonJournal(database)
    return handover
  }

  /** Whether another node waits for it. */
  setLending(name: string, isWanted: boolean): void {
    const database = this.#databases.get(name)
    if (database !== undefined) database.isWanted = isWanted
  }

  /** One database of a replica: clients may write it, and the primary is asked for every transaction. */
  borrow(handover: DatabaseHandover): void {
    const state = historyState(must(handover.state, "state of a borrowed database"))
    this.#known(handover.name).borrow(handover, state)
  }

  /** What was borrowed. A client in the middle of a transaction finds it undone. */
  giveBack(name: string): DatabaseHandover {
    const database = this.#known(name)
    const handover = database.handOver()
    if (handover.isUndone) this.#abandonJournal(database)
    return handover
  }

  #known(name: string): MountedDatabase {
    const database = this.database(name)
    if (database !== undefined) return database
    throw new LitefsError("not-found", `database not found: "${name}"`)
  }

  get #isWritable(): boolean {
    if (this.#context.role.isPrimary || this.#context.forwarding !== undefined) return true
    for (const database of this.#databases.values()) if (database.isBorrowed) return true
    return false
  }

  #abandonJournal({ name, journal }: MountedDatabase): void {
    const node = this.#names.get(`${name}-journal`)
    if (node === undefined) return void journal.remove().close()
    if (node.entry instanceof JournalEntry) node.entry.abandon()
    this.#names.delete(node.entry.name)
    if (node.references === 0) this.forget(node.entry.nodeId, 0)
  }

  /** After the mount has gone. */
  settle(): void {
    for (const database of this.#databases.values()) {
      try {
        database.settle()
      } catch (error) {
        log.warn("cannot leave a database ready for a quick start", { db: database.name, error })
      }
    }
  }

  lookup(parentId: number, name: string): Entry | undefined {
    this.#assertRoot(parentId)
    const node = this.#names.get(name) ?? this.#find(name)
    if (node !== undefined) return this.#reference(node)
    if (isMadeUp(parseFileName(name))) throw FuseError.of(Errno.ENOENT) // not to be remembered
    return undefined
  }

  forget(nodeId: number, count: number): void {
    const node = this.#nodes.get(nodeId)
    if (node === undefined) return
    node.references -= count
    if (node.references > 0) return
    this.#nodes.delete(nodeId)
    if (this.#names.get(node.entry.name) === node) this.#names.delete(node.entry.name)
    node.entry.close()
  }

  getAttributes(nodeId: number, into: Attributes): void {
    into.nodeId = nodeId
    into.uid = this.#uid
    into.gid = this.#gid
    if (nodeId !== ROOT_ID) return this.#entry(nodeId).readAttributes(into)
    into.size = 0
    into.blocks = 0
    into.blockSize = 4096
    into.mode = S_IFDIR | (this.#isWritable ? 0o777 : 0o555)
    into.nlink = 1
    into.mtimeMs = into.atimeMs = into.ctimeMs = this.#startedMs
    into.timeout = FOREVER
  }

  /** Modes, owners and times are not kept: changing them succeeds and does nothing, as in the original. */
  setAttributes(nodeId: number, { size }: AttributeChange, into: Attributes): Deferred | undefined {
    if (size !== undefined) {
      if (nodeId === ROOT_ID) throw FuseError.of(Errno.EISDIR)
      const entry = this.#entry(nodeId)
      const truncating = this.#attempt(() => entry.truncate(size))
      if (truncating !== undefined) return truncating
    }
    this.getAttributes(nodeId, into)
    return undefined
  }

  open(nodeId: number, _flags: number, caller: Caller, opened: Opened): void {
    this.#fillOpened(this.#entry(nodeId), caller, opened)
  }

  create(
    parentId: number,
    name: string,
    flags: number,
    _mode: number,
    caller: Caller,
    opened: Opened,
  ): Entry {
    this.#assertRoot(parentId)
    const found = this.#names.get(name) ?? this.#find(name)
    if (found !== undefined && (flags & O_EXCL) !== 0) throw FuseError.of(Errno.EEXIST)
    const node = found ?? this.#make(name)
    this.#fillOpened(node.entry, caller, opened)
    return this.#reference(node)
  }

  read(nodeId: number, _handle: number, offset: number, size: number, into: Region): number {
    return this.#entry(nodeId).read(offset, size, into)
  }

  write(
    nodeId: number,
    _handle: number,
    offset: number,
    size: number,
    from: Region,
    caller: Caller,
  ): number | Deferred {
    const entry = this.#entry(nodeId)
    const { pid } = caller
    try {
      entry.write(offset, size, from, pid)
      return size
    } catch (error) {
      if (!(error instanceof Proposal)) throw error
      const copy = keep(from, size)
      const again = () => entry.write(offset, size, copy, pid)
      return this.#context.propose(error, again, () => free(copy))
    }
  }

  /** What may commit a transaction. What the primary has to be asked for first is done when it has answered. */
  #attempt(act: () => void): Deferred | undefined {
    try {
      act()
      return undefined
    } catch (error) {
      if (!(error instanceof Proposal)) throw error
      return this.#context.propose(error, act, () => {})
    }
  }

  flush(nodeId: number, _handle: number, owner: LockOwner, caller: Caller): Deferred | undefined {
    return this.#locks.flushed(nodeId, owner, this.#entry(nodeId).flush(caller.pid))
  }

  release(nodeId: number, handle: number, flockOwner: LockOwner | undefined): void {
    this.#locks.released(nodeId, handle)
    if (flockOwner === undefined) return
    if (this.#nodes.get(nodeId)?.entry instanceof LockEntry) this.halts.release(nodeId, flockOwner)
    else this.#flocks.release(nodeId, flockOwner)
  }

  sync(nodeId: number): undefined {
    this.#entry(nodeId).sync()
  }

  flock(
    nodeId: number,
    _handle: number,
    owner: LockOwner,
    kind: FlockKind,
    wait: boolean,
  ): Deferred | undefined {
    const entry = this.#nodes.get(nodeId)?.entry
    if (entry instanceof LockEntry) {
      return this.halts.set(entry.database, nodeId, owner, kind, wait)
    }
    return this.#flocks.set(nodeId, owner, kind, wait)
  }

  getLock(nodeId: number, request: PosixLockRequest): PosixLock | undefined {
    return this.#locks.get(nodeId, request)
  }

  setLock(
    nodeId: number,
    request: PosixLockRequest,
    wait: boolean,
    caller: Caller,
  ): Deferred | undefined {
    return this.#locks.set(nodeId, request, wait, caller)
  }

  unlink(parentId: number, name: string): Deferred | undefined {
    this.#assertRoot(parentId)
    const node = this.#names.get(name) ?? this.#find(name)
    if (node === undefined) throw FuseError.of(Errno.ENOENT)
    return this.#attempt(() => {
      node.entry.removing()
      this.#names.delete(name)
      if (node.references === 0) this.forget(node.entry.nodeId, 0)
    })
  }

  removeIfThere(name: string): void {
    if ((this.#names.get(name) ?? this.#find(name)) !== undefined) this.unlink(ROOT_ID, name)
  }

  /** The nodes of those of the files that the kernel knows. */
  nodeIds(names: readonly string[]): number[] {
    return names.flatMap((name) => this.#names.get(name)?.entry.nodeId ?? [])
  }

  /** On a replica: the daemon has removed the database's file. */
  forgetRemoved(database: string): void {
    const node = this.#names.get(database)
    if (node === undefined) return
    this.database(database)?.database.close()
    this.#names.delete(database)
    if (node.references === 0) this.forget(node.entry.nodeId, 0)
  }

  /** SQLite renames nothing, and a renamed database would be another one to every replica. */
  rename(): void {
    throw FuseError.of(Errno.EPERM)
  }

  *list(nodeId: number): Iterable<DirectoryEntry> {
    this.#assertRoot(nodeId)
    for (const name of this.#listNames()) {
      const node = this.#names.get(name) ?? this.#find(name)
      if (node !== undefined) yield { name, nodeId: node.entry.nodeId, kind: "file" }
    }
  }

  /** Never asked for: see `syncless` in thread.ts. */
  syncDirectory(): void {}

  statfs(into: Statfs): void {
    const status = fileSystemStatus("data:statfs", this.#context.dataDir.root)
    into.blocks = status.blocks
    into.blocksFree = status.blocksFree
    into.blocksAvailable = status.blocksAvailable
    into.files = status.files
    into.filesFree = status.filesFree
    into.blockSize = status.blockSize
    into.nameLengthMax = status.nameLength
  }

  #entry(nodeId: number): FileEntry {
    const node = this.#nodes.get(nodeId)
    if (node === undefined) throw FuseError.of(nodeId === ROOT_ID ? Errno.EISDIR : Errno.ENOENT)
    return node.entry
  }

  /** The node of a name that the kernel does not know yet, when there is such a file. */
  #find(name: string): Node | undefined {
    const { kind, database: databaseName } = parseFileName(name)
    if (kind === "primary") {
      const { role } = this.#context
      if (role.primaryName === undefined) return undefined
      return this.#addNode(new PrimaryEntry(this.#nextNodeId, name, role))
    }
    if (kind === "side") {
      const file = this.#sideFile(name)
      return file.open()
        ? this.#addNode(new SideFileEntry(this.#nextNodeId, name, file))
        : undefined
    }
    if (kind === "lag") {
      const { lag, positions, clock } = this.#context
      return this.#addNode(new LagEntry(this.#nextNodeId, name, lag, positions, clock))
    }
    const database = this.database(databaseName as string)
    if (database === undefined) return undefined
    if (kind === "pos") {
      const { positions } = this.#context
      return this.#addNode(new PosEntry(this.#nextNodeId, name, positions, database.slot))
    }
    if (kind === "lock") {
      return this.#addNode(new LockEntry(this.#nextNodeId, name, database.name, this.#startedMs))
    }
    return database[kind].open() ? this.#addNode(this.#newEntry(name, kind, database)) : undefined
  }

  /** Makes the file. Throws when this name cannot be made here. */
  #make(name: string): Node {
    const { kind, database: databaseName } = parseFileName(name)
    const { role } = this.#context
    if (kind === "side") {
      if (!this.#isWritable) throw FuseError.of(Errno.EACCES)
      const file = this.#sideFile(name)
      file.create()
      return this.#addNode(new SideFileEntry(this.#nextNodeId, name, file))
    }
    if (databaseName === undefined || kind === "pos" || kind === "lock") {
      throw FuseError.of(Errno.EACCES) // reserved
    }
    if (kind === "database") {
      if (!role.isPrimary || !this.#context.log.isOpen) throw FuseError.of(Errno.EACCES)
      checkNewDatabaseName(name)
      this.#context.dataDir.createDatabase(name)
      const database = this.database(name) ?? this.addDatabase(name, emptyHistoryState())
      database.database.create()
      return this.#addNode(this.#newEntry(name, kind, database))
    }
    const database = this.database(databaseName)
    if (database === undefined) throw FuseError.of(Errno.ENOENT)
    if (kind === "journal") {
      if (database.capture === undefined) {
        database.complainAboutWrite()
        throw FuseError.of(Errno.EACCES)
      }
    }
    database[kind].create()
    return this.#addNode(this.#newEntry(name, kind, database))
  }

  #newEntry(
    name: string,
    kind: "database" | "journal" | "wal" | "shm",
    database: MountedDatabase,
  ): FileEntry {
    const id = this.#nextNodeId
    switch (kind) {
      case "database":
        return new DatabaseEntry(id, name, database)
      case "journal":
        return new JournalEntry(id, name, database, database.journal)
      case "wal":
        return new WalEntry(id, name, database, database.wal)
      case "shm":
        return new ShmEntry(id, name, database)
    }
  }

  #sideFile(name: string): BackedFile {
    return new BackedFile("side", this.#context.dataDir.sidePath(name))
  }

  #addNode(entry: FileEntry): Node {
    const node = { entry, references: 0 }
    this.#nextNodeId += 1
    this.#nodes.set(entry.nodeId, node)
    this.#names.set(entry.name, node)
    return node
  }

  #reference(node: Node): Entry {
    const { entry } = node
    this.getAttributes(entry.nodeId, attributes)
    node.references += 1
    reply.nodeId = entry.nodeId
    reply.entryTimeout = entry.nameTimeout
    return reply
  }

  #fillOpened(entry: FileEntry, caller: Caller, opened: Opened): void {
    opened.handle = this.#nextHandle++
    opened.flags = entry.openFlags
    // Without this a daemon that is killed waits for itself to answer the FLUSH of its own descriptor.
    if (!this.#context.isPeer(caller.pid)) return
    opened.flags |= Fopen.NOFLUSH
    this.#locks.openedByPeer(opened.handle)
  }

  #listNames(): string[] {
    const names = [".lag"]
    if (this.#context.role.primaryName !== undefined) names.push(".primary")
    const { positions, dataDir } = this.#context
    const databases: string[] = []
    for (let slot = 0; slot < positions.count; slot++) databases.push(positions.name(slot))
    for (const name of databases.sort()) {
      if (this.database(name)?.database.open() !== true) continue
      names.push(name, `${name}-pos`, `${name}-journal`, `${name}-shm`, `${name}-wal`)
    }
    return [...names, ...dataDir.sideNames()]
  }

  #assertRoot(nodeId: number): void {
    if (nodeId !== ROOT_ID) throw FuseError.of(Errno.ENOTDIR)
  }
}

/** What is written is needed again when the primary has answered. Memory is used again, never given back. */
const kept: Region[] = []

function keep(from: Region, size: number): Region {
  const index = kept.findIndex(({ bytes }) => bytes.length >= size)
  const copy = index < 0 ? allocate(Math.max(size, 65536)) : (kept.splice(index, 1)[0] as Region)
  copy.bytes.set(from.bytes.subarray(0, size))
  return copy
}

function free(copy: Region): void {
  kept.push(copy)
}

function isMadeUp({ kind }: FileName): boolean {
  return kind === "pos" || kind === "lock" || kind === "primary" || kind === "lag"
}

const attributes: Attributes = {
  nodeId: 0,
  size: 0,
  blocks: 0,
  mode: 0,
  nlink: 1,
  uid: 0,
  gid: 0,
  mtimeMs: 0,
  atimeMs: 0,
  ctimeMs: 0,
  blockSize: 4096,
  timeout: 0,
}

/** One for all requests: the server is done with it when it next asks. */
const reply: Entry = {
  nodeId: 0,
  generation: 0,
  attributes,
  entryTimeout: 0,
}
