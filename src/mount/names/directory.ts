/**
 * The mounted directory as the kernel sees it: every request about a file, or about the directory itself.
 *
 * The entries decide what a request means (entry.ts), and `NamedEntries` decides which of them exist. Requests find
 * their entry here, locks go to their tables, and a transaction that needs the word of other nodes waits for it.
 *
 * On the primary every change comes through here, and the kernel may believe what it knows for as long as it likes. The
 * peer thread tells the kernel what the daemon itself changes (on a replica). Names of files that we make up (`-pos`,
 * `.primary`) come and go by themselves: their absence is never remembered.
 *
 * It is one file because FileSystem (fuse/filesystem.ts) is one interface: a method for each request, and little more.
 */

import type { HistoryState } from "../../capture/history.ts"
import { Proposal } from "../../capture/proposal.ts"
import type { Deferred } from "../../fuse/deferred.ts"
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
} from "../../fuse/filesystem.ts"
import { ROOT_ID } from "../../fuse/filesystem.ts"
import { Fopen } from "../../fuse/flags.ts"
import { FlockTable } from "../../fuse/flock-table.ts"
import { FuseError } from "../../fuse/fuse-error.ts"
import { earlier } from "../../lib/clock.ts"
import { FILE_SIZE_MAX } from "../../store/backed-file.ts"
import { Errno } from "../../sys/errno.ts"
import { type Fd, O_ACCMODE, O_EXCL, O_RDONLY } from "../../sys/file.ts"
import { MODE_BITS } from "../../sys/file-access.ts"
import { fileSystemStatus } from "../../sys/file-status.ts"
import { type Region, RegionPool } from "../../sys/memory.ts"
import { Unsynced } from "../databases/acknowledgements.ts"
import { FileLocks } from "../databases/file-locks.ts"
import { HaltFlocks } from "../databases/halt-flocks.ts"
import type { MountedDatabaseContext } from "../databases/mounted-database.ts"
import { MountedDatabases } from "../databases/mounted-databases.ts"
import { sayDropped } from "../databases/refusals.ts"
import { DatabaseEntry } from "../files/database.ts"
import type { FileEntry } from "../files/entry.ts"
import { EntryTable } from "../files/entry-table.ts"
import { HaltBytes } from "../files/halt-bytes.ts"
import { RefusedJournalEntry } from "../files/journal.ts"
import { LockEntry } from "../files/lock.ts"
import { Root } from "../files/root.ts"
import { UsedEntry } from "../files/used-entry.ts"
import { EmptyFiles } from "./empty-files.ts"
import { isMadeUp, parseFileName } from "./file-name.ts"
import { NamedEntries } from "./named-entries.ts"

/** Suffixes of SQLite's files beside a database. */
export const SIDE_SUFFIXES = ["-journal", "-wal", "-shm"]

export class Directory implements FileSystem {
  readonly databases: MountedDatabases
  /** Locks on the files `<db>-lock`. */
  readonly halts: HaltFlocks
  /** Locks that the kernel keeps; undefined when locks are requests. */
  readonly haltBytes: HaltBytes | undefined
  readonly #context: MountedDatabaseContext
  readonly #entries = new EntryTable()
  readonly #named: NamedEntries
  readonly #flocks = new FlockTable()
  readonly #locks = new FileLocks((nodeId) => this.#entries.find(nodeId))
  /** Copies of what was written in transactions that wait before they count. */
  readonly #copies = new RegionPool()
  readonly #root: Root
  readonly #refused = new Set<string>() // what, and the name, for the log
  readonly #empty: EmptyFiles
  #nextHandle = 1

  /** `states` are what recovery found, undefined for damaged databases; on a replica the peer thread has them. */
  constructor(
    context: MountedDatabaseContext,
    states: ReadonlyMap<string, HistoryState | undefined>,
  ) {
    this.#context = context
    this.halts = new HaltFlocks({ ...context.halts, flocks: this.#flocks })
    const isKernels = context.forwarding === undefined
    this.haltBytes = isKernels ? new HaltBytes({ ...context.halts, flocks: this.halts }) : undefined
    const startedMs = context.clock.wallMs()
    this.#root = new Root(startedMs)
    this.databases = new MountedDatabases(context, this.#entries, states)
    this.#named = new NamedEntries(context, this.databases, this.#root, this.halts, startedMs)
    this.#empty = new EmptyFiles({
      clock: context.clock,
      find: (name) => {
        const entry = this.databases.isUsable(name) ? this.#find(name) : undefined
        return entry instanceof DatabaseEntry ? entry : undefined
      },
      remove: (entry) => this.#vanish(entry),
    })
  }

  /** Before the first request. `below` is the directory that was mounted on. */
  mounted(below: Fd): void {
    this.#root.mounted(below)
  }

  lookup(parentId: number, name: string): Entry | undefined {
    this.#assertRoot(parentId)
    const entry = this.#find(name)
    if (entry !== undefined) return this.#reply(entry)
    if (isMadeUp(name)) throw FuseError.of(Errno.ENOENT) // the kernel must not remember it
    return undefined
  }

  forget(nodeId: number, count: number): void {
    this.#entries.forget(nodeId, count)
  }

  getAttributes(nodeId: number, into: Attributes): void {
    into.nodeId = nodeId
    if (nodeId === ROOT_ID) this.#root.readAttributes(into)
    else this.#entries.get(nodeId).readAttributes(into)
  }

  /** Times are not kept: changing them succeeds and does nothing, as in the original. */
  setAttributes(
    nodeId: number,
    change: AttributeChange,
    into: Attributes,
    { pid }: Caller,
  ): Deferred | undefined {
    const { size, handle } = change
    if (nodeId === ROOT_ID) this.#root.changeAccess(change)
    else this.#entries.get(nodeId).changeAccess(change)
    if (size !== undefined) {
      checkFileSize(size)
      const entry = this.#entries.get(nodeId)
      const truncating = this.#attempt(pid, true, () => {
        if (!this.#context.isPeer(pid)) entry.cuttingOff(size, handle, pid)
        entry.truncate(size)
      })
      if (truncating !== undefined) return truncating
    }
    this.getAttributes(nodeId, into)
    // The kernel takes the size of this answer even when it has been told to forget it since (Linux: fuse_do_setattr).
    if (size === undefined) into.timeout = 0
    return undefined
  }

  open(nodeId: number, flags: number, caller: Caller, opened: Opened): Deferred | undefined {
    const entry = this.#entries.get(nodeId)
    const isToWrite = (flags & O_ACCMODE) !== O_RDONLY && !this.#context.isPeer(caller.pid)
    if (isToWrite) {
      this.#context.refusals.during(caller.pid, () => entry.checkWritable(caller.pid))
    }
    this.#fillOpened(entry, caller, opened, isToWrite)
    if (entry instanceof DatabaseEntry && !this.#context.isPeer(caller.pid)) return entry.opening()
    if (!isToWrite || !(entry instanceof LockEntry)) return undefined
    return this.haltBytes?.opening(entry, opened.handle)
  }

  create(
    parentId: number,
    name: string,
    flags: number,
    mode: number,
    caller: Caller,
    opened: Opened,
  ): Entry {
    this.#assertRoot(parentId)
    const found = this.#find(name)
    // The kernel took the file to be missing, and has not checked whether the caller may open it: it must look again.
    if (found !== undefined) {
      throw FuseError.of((flags & O_EXCL) !== 0 ? Errno.EEXIST : Errno.ESTALE)
    }
    const make = () => this.#make(name, mode, caller)
    const { refusals } = this.#context
    const entry = isMadeUp(name) ? make() : refusals.watch("make", name, caller.pid, make)
    this.#fillOpened(entry, caller, opened, true)
    return this.#reply(entry)
  }

  read(nodeId: number, _handle: number, offset: number, size: number, into: Region): number {
    return this.#entries.get(nodeId).read(offset, size, into)
  }

  write(
    nodeId: number,
    handle: number,
    offset: number,
    size: number,
    from: Region,
    caller: Caller,
    isMapped = false,
  ): number | Deferred {
    const entry = this.#entries.get(nodeId)
    const { pid } = caller
    // When the bytes come from a mapping, the kernel and its other readers have had them since they were stored: long
    // before this request, and until the kernel is told to forget them, just after the answer. The kernel asks nobody
    // when it makes a page writable (Linux: fuse_page_mkwrite). FOPEN_DIRECT_IO refuses such mappings, but also those
    // that SQLite reads through (PRAGMA mmap_size), and makes every read a request.
    const refused = () => this.#context.onRefused(nodeId, offset, size)
    const { refusals, acknowledgements } = this.#context
    const act = () => {
      entry.checkWriter(handle)
      if (isMapped) entry.checkStored()
      checkFileSize(offset + size)
      entry.write(offset, size, from, pid)
    }
    try {
      return acknowledgements.request(() => refusals.during(pid, act)) ?? size
    } catch (error) {
      if (!isHeld(error)) {
        refused()
        throw error
      }
      const copy = this.#copies.copy(from, size)
      let isWritten = false
      const again = () => {
        refusals.during(pid, () => entry.write(offset, size, copy, pid))
        isWritten = true
      }
      const request = { thread: pid, isPatient: true }
      return this.#context.propose(error, request, again, () => {
        this.#copies.release(copy)
        if (!isWritten) refused()
      })
    }
  }

  allocate(
    nodeId: number,
    _handle: number,
    offset: number,
    size: number,
    keepsSize: boolean,
  ): void {
    checkFileSize(offset + size)
    this.#entries.get(nodeId).allocate(offset, size, !keepsSize)
  }

  flush(nodeId: number, _handle: number, owner: LockOwner, caller: Caller): Deferred | undefined {
    return this.#locks.flushed(nodeId, owner, this.#entries.get(nodeId).flush(caller.pid))
  }

  release(nodeId: number, handle: number, flockOwner: LockOwner | undefined): void {
    this.#locks.released(nodeId, handle)
    const entry = this.#entries.find(nodeId)
    if (entry instanceof LockEntry) this.haltBytes?.released(entry, handle)
    if (flockOwner !== undefined) this.#releaseFlock(entry, nodeId, flockOwner)
    entry?.released(handle)
    if (entry instanceof DatabaseEntry) this.#empty.released(entry)
    else if (entry instanceof UsedEntry && entry.isRemains) this.#vanishSide(entry)
    if (entry instanceof RefusedJournalEntry && entry.isUnused) this.#entries.removeName(entry)
  }

  #releaseFlock(entry: FileEntry | undefined, nodeId: number, flockOwner: LockOwner): void {
    if (entry instanceof LockEntry) this.halts.release(nodeId, flockOwner)
    else this.#flocks.release(nodeId, flockOwner)
  }

  sync(nodeId: number, handle: number, _dataOnly: boolean, { pid }: Caller): undefined {
    this.#entries.get(nodeId).sync(pid, handle)
  }

  flock(
    nodeId: number,
    _handle: number,
    owner: LockOwner,
    kind: FlockKind,
    wait: boolean,
  ): Deferred | undefined {
    const entry = this.#entries.find(nodeId)
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

  unlink(parentId: number, name: string, caller: Caller): Deferred | undefined {
    this.#assertRoot(parentId)
    return this.#remove(name, caller.pid)
  }

  /** Removes the file for a thread, by the kernel's id of it. */
  #remove(name: string, thread: number): Deferred | undefined {
    const entry = this.#find(name)
    if (entry === undefined) throw FuseError.of(Errno.ENOENT)
    return this.#attempt(thread, false, () => this.#removeEntry(entry, thread))
  }

  #removeEntry(entry: FileEntry, thread: number): void {
    const { name } = entry
    const { refusals } = this.#context
    const last = entry instanceof DatabaseEntry ? entry.pos : undefined
    if (last !== undefined && this.#context.role.isPrimary) refusals.refuseCopiers(name, thread)
    if (isMadeUp(name)) entry.removing()
    else refusals.watch("remove", name, thread, () => entry.removing())
    this.#entries.removeName(entry)
    if (entry instanceof DatabaseEntry) this.databases.find(name)?.dropped(this.#nextHandle)
    this.#tellWalRemoved(name, thread)
    this.#forgetNew(name)
    if (last !== undefined) sayDropped(name, last, thread)
  }

  #tellWalRemoved(name: string, thread: number): void {
    const { role, isPeer, onWalRemoved } = this.#context
    const { kind, database } = parseFileName(name)
    if (role.isPrimary || isPeer(thread) || (kind !== "wal" && kind !== "shm")) return
    onWalRemoved(database)
  }

  /** Forgets a new database when its last file is gone. */
  #forgetNew(name: string): void {
    const { database: databaseName } = parseFileName(name)
    if (databaseName === undefined) return
    const database = this.databases.find(databaseName)
    if (database !== undefined) this.databases.forgetNew(database)
  }

  /** Removes a file that is empty and unused, and what is left beside it. */
  #vanish(entry: DatabaseEntry): void {
    const { name } = entry
    for (const suffix of SIDE_SUFFIXES) this.removeIfThere(name + suffix)
    this.#vanishSide(entry)
    this.#forgetNew(name)
  }

  #vanishSide(entry: UsedEntry): void {
    entry.vanish()
    this.#entries.removeName(entry)
    this.#context.onVanish(entry.name)
  }

  /** Does what is due by now. Returns in how many milliseconds to call again; undefined: when something happens. */
  sweep(): number | undefined {
    return earlier(this.#empty.sweep(), this.databases.sweep())
  }

  /** On a replica: the daemon has removed the file of the database. */
  fileRemoved(name: string): void {
    this.databases.fileRemoved(name)
    this.databases.find(name)?.dropped(this.#nextHandle)
  }

  removeIfThere(name: string): void {
    const entry = this.#find(name)
    if (entry !== undefined) this.#removeEntry(entry, 0)
  }

  /** The nodes of those files that the kernel knows. */
  nodeIds(names: readonly string[]): number[] {
    return names.flatMap((name) => this.#entries.named(name)?.nodeId ?? [])
  }

  /** SQLite renames nothing, and a renamed database would be another one to every replica. */
  rename(
    _parentId: number,
    name: string,
    _newParentId: number,
    _newName: string,
    _flags: number,
    caller: Caller,
  ): void {
    this.refused("rename a file", name, caller)
    throw FuseError.of(Errno.EPERM)
  }

  /** One line for each kind and name: somebody may try over and over. */
  refused(what: string, name: string, { pid }: Caller): void {
    const key = `${what} ${name}`
    if (this.#refused.has(key) || this.#refused.size >= REFUSED_COUNT_MAX) return
    this.#refused.add(key)
    const { refusals } = this.#context
    const holds = "it holds databases and SQLite's files beside them, and no directories or links"
    const message = `Cannot ${what} in the mount: ${holds}, and nothing is renamed there`
    refusals.during(pid, () => refusals.say(message, name))
  }

  *list(nodeId: number): Iterable<DirectoryEntry> {
    this.#assertRoot(nodeId)
    for (const name of this.#named.names()) {
      const entry = this.#find(name)
      if (entry !== undefined) yield { name, nodeId: entry.nodeId, kind: "file" }
    }
  }

  /** The kernel never asks for it: see `isSyncless` in thread.ts. */
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

  #find(name: string): FileEntry | undefined {
    const known = this.#entries.named(name)
    const isOver = known instanceof RefusedJournalEntry && known.isOver
    if (known !== undefined && !isOver) return known
    if (known !== undefined) this.#entries.removeName(known)
    const entry = this.#named.find(name, this.#entries.nextNodeId)
    return entry && this.#entries.add(entry)
  }

  /** The daemon makes files of a database when it takes part in SQLite's locking: they have the database's access. */
  #make(name: string, mode: number, { pid, uid, gid }: Caller): FileEntry {
    const access = this.#context.isPeer(pid)
      ? undefined
      : { uid, gid: this.#root.groupOfNew(gid), mode: mode & MODE_BITS }
    return this.#entries.add(this.#named.make(name, this.#entries.nextNodeId, access, pid))
  }

  /** Tells the kernel of the entry, which it will forget one day. */
  #reply(entry: FileEntry): Entry {
    this.getAttributes(entry.nodeId, attributes)
    this.#entries.refer(entry)
    reply.nodeId = entry.nodeId
    reply.entryTimeout = entry.nameTimeout
    return reply
  }

  #fillOpened(entry: FileEntry, caller: Caller, opened: Opened, isToWrite: boolean): void {
    const handle = this.#nextHandle++
    entry.opened(caller.pid, isToWrite, handle)
    if (entry instanceof DatabaseEntry) this.#empty.opened(entry)
    opened.handle = handle
    opened.flags = entry.openFlags
    if (entry.backingId > 0) {
      opened.flags = Fopen.PASSTHROUGH
      opened.backingId = entry.backingId
    }
    // Without this a daemon that is killed waits for itself to answer the FLUSH of its own descriptor.
    if (!this.#context.isPeer(caller.pid)) return
    opened.flags |= Fopen.NOFLUSH
    this.#locks.openedByPeer(opened.handle)
  }

  /** Runs what may commit a transaction. If other nodes have to be asked, it is done when they have answered. */
  #attempt(thread: number, isPatient: boolean, change: () => void): Deferred | undefined {
    const act = () => this.#context.refusals.during(thread, change)
    const { acknowledgements } = this.#context
    try {
      return acknowledgements.request(act)
    } catch (error) {
      if (!isHeld(error)) throw error
      return this.#context.propose(error, { thread, isPatient }, act, () => {})
    }
  }

  #assertRoot(nodeId: number): void {
    if (nodeId !== ROOT_ID) throw FuseError.of(Errno.ENOTDIR)
  }
}

/** Whether a transaction waits for other nodes before it counts. */
function isHeld(error: unknown): error is Proposal | Unsynced {
  return error instanceof Proposal || error instanceof Unsynced
}

/** Lines in the log, not requests. */
const REFUSED_COUNT_MAX = 100

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

/** Shared by all requests: the server has used it up when it asks again. */
const reply: Entry = {
  nodeId: 0,
  generation: 0,
  attributes,
  entryTimeout: 0,
}

/** The kernel allows offsets up to 2^63: nobody may count the pages up to there. */
function checkFileSize(size: number): void {
  if (size > FILE_SIZE_MAX) throw FuseError.of(Errno.EFBIG)
}
