/**
 * The fs thread: a Worker that answers the mount.
 *
 *   new Worker ── start: recover the databases ──▶ ready ── serve: a descriptor ──▶ serving ── unmounted ──▶ stopped
 *
 * While it serves it has no event loop. It is told things through its mailbox, and tells the main thread
 * things with postMessage(). It never touches its own mount and never waits for another thread.
 *
 * On the primary it captures transactions. `hand-over` and `take-over` change that while it serves, between two
 * requests: before it takes over the peer thread has closed the commit log, and after it has handed over it uses
 * neither the log nor a database's files but to read.
 */
import { realpathSync } from "node:fs"
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads"
import type { FrozenView } from "../capture/frozen-view.ts"
import type { DatabaseHandover } from "../capture/handover.ts"
import { Deferred } from "../fuse/deferred.ts"
import { FuseServer, REPLY_SIZE, REQUEST_SIZE } from "../fuse/server.ts"
import { sendReply, serve } from "../fuse/session.ts"
import { must, unreachable } from "../lib/assert.ts"
import { Callee, type CallTo } from "../lib/calls.ts"
import { systemClock } from "../lib/clock.ts"
import { messageOf } from "../lib/errors.ts"
import { configureLog, logger } from "../lib/log.ts"
import { openCommitLog } from "../recovery/log/commit-log-recovery.ts"
import { believed, recoverDatabases } from "../recovery/recover.ts"
import { Column, Counters } from "../store/counters.ts"
import { DataDir } from "../store/data-dir.ts"
import type { CommitLog } from "../store/log/commit-log.ts"
import { GatedLog } from "../store/log/gated-log.ts"
import { RecentTransactions } from "../store/ltx/recent-transactions.ts"
import { Positions, type Slot } from "../store/positions.ts"
import { SharedFlags } from "../store/shared-flags.ts"
import { SharedLag } from "../store/shared-lag.ts"
import { SpareFiles } from "../store/spare-files.ts"
import { watchFullDisk } from "../sys/errno.ts"
import { closeFile, type Fd } from "../sys/file.ts"
import { MailboxReceiver } from "../sys/mailbox.ts"
import { allocate } from "../sys/memory.ts"
import { Garbage } from "../sys/process/garbage.ts"
import { keepSpareDescriptors, refillSpares } from "../sys/spare-descriptors.ts"
import { ownDescriptors } from "../sys/thread.ts"
import { errnoOf } from "./databases/errno.ts"
import type { MountedDatabaseContext } from "./databases/mounted-database.ts"
import type { MountedDatabases } from "./databases/mounted-databases.ts"
import { Proposals } from "./databases/proposals.ts"
import { FOREVER } from "./files/entry.ts"
import type { Role } from "./files/role.ts"
import type { FsCalls, FsCommand, FsEvent, FsMessage, FsThreadOptions } from "./messages.ts"
import { Directory } from "./names/directory.ts"
import { replaceDatabase } from "./names/replace.ts"

declare const self: Worker

const log = logger("fs")

let directory: Directory
let databases: MountedDatabases // of the directory
let context: MountedDatabaseContext
let options: FsThreadOptions
let role: Role
let positions: Positions
let flags: SharedFlags
let counters: Counters
let recent: RecentTransactions
let spares: SpareFiles
let handovers: MessagePort
let commitLog: CommitLog | undefined // of a primary
const callee = new Callee<FsCalls>(tell)
const gate = new GatedLog()
const garbage = new Garbage(systemClock)
const proposals = new Proposals({
  ask: (request, { database, bytes }) => {
    const own = new Uint8Array(bytes) // a message copies all of the memory that bytes lie in
    tell({ type: "propose", request, database, bytes: own }, [own.buffer])
  },
  behind: (database) => tell({ type: "behind", database }),
})

/** Slots of databases with a transaction that is durable, and whose LTX file is still to be made. */
const unstored = new Set<Slot>()
let canStore = true

/** A commit opens a file or two, and closes them. */
const SPARE_DESCRIPTORS = 8

/** A disk that was full has room again without anybody telling us. */
const STORE_RETRY_MS = 500

function start(given: FsThreadOptions, port: MessagePort): void {
  options = given
  handovers = port
  configureLog(options.log)
  role = { isPrimary: options.isPrimary, primaryName: undefined, changedMs: 0 }
  const dataDir = new DataDir(options.dataDir, undefined, options.access)
  positions = new Positions(options.positions)
  flags = new SharedFlags(options.flags)
  counters = new Counters(options.counters)
  recent = new RecentTransactions(options.recent)
  spares = new SpareFiles(flags.spareFiles, dataDir.root)
  if (role.isPrimary) openLog(dataDir)
  const states = role.isPrimary ? recoverDatabases(dataDir, positions, log, refused) : new Map()
  context = {
    dataDir,
    positions,
    lag: new SharedLag(options.lag),
    counters,
    role,
    nodeId: options.nodeId,
    clock: systemClock,
    log: gate,
    isPeer: (thread) => thread !== 0 && thread === flags.peerThreadId,
    onAppended: countCommit,
    onCommit: (slot) => {
      unstored.add(slot)
      const file = commitLog?.pendingFile
      if (file !== undefined) recent.add(slot, positions.read(slot).pos.txid, file)
    },
    onVanish: (name) => tell({ type: "vanished", name }),
    publish: (database, last) => {
      const deferred = new Deferred()
      const request = nextRequest++
      publishing.set(request, deferred)
      tell({ type: "publish", request, database, last })
      return deferred
    },
    onRewrite: (database) => tell({ type: "rewritten", database }),
    onRefused: (nodeId, offset, size) => tell({ type: "write-refused", nodeId, offset, size }),
    readOnlyOpens: options.readOnlyOpens,
    forwarding: options.forwardWrites
      ? {
          ask: (database, isPatient) => tell({ type: "borrow-for-writer", database, isPatient }),
          use: (database) => tell({ type: "in-use", database }),
          giveBack: (database, isUnused) => {
            tell({ type: "give-back", database, user: "writer", isUnused })
          },
        }
      : undefined,
    halts: {
      ask: (request, database, waits) => {
        tell({ type: "borrow-for-flock", request, database, waits })
      },
      giveBack: (database) => {
        tell({ type: "give-back", database, user: "flock", isUnused: false })
      },
      hold: (database) => tell({ type: "hold-lock-file", database }),
      granted: (database, isGranted) => tell({ type: "lock-file-granted", database, isGranted }),
      letGo: (database) => tell({ type: "let-lock-file-go", database }),
    },
    propose: (proposal, again, end) => proposals.add(proposal, again, end),
  }
  watchFullDisk(() => {
    flags.noteFull()
    if (flags.raiseChanged()) tell({ type: "changed" })
  })
  directory = new Directory(context, states)
  databases = directory.databases
  tell({ type: "ready", believed: believed(states) })
}

function refused(database: string, problem: string): void {
  tell({ type: "refused-database", database, problem })
}

function openLog(dataDir: DataDir): void {
  commitLog = openCommitLog(dataDir, log, {
    isFree: (segment) => flags.isSegmentFree(segment),
    onFull: (segment) => {
      flags.setSegmentFree(segment, false)
      tell({ type: "segment-full", segment })
    },
    onMissing: (segment) => {
      flags.setSegmentFree(segment, false)
      tell({ type: "segment-missing", segment })
    },
    spares,
  })
  gate.open(commitLog)
}

/**
 * The thread has a table of descriptors of its own. When the process is killed, the device is closed with this thread,
 * and the kernel gives up the requests it had read. Otherwise a thread that waits for an answer to one could not
 * end, and would keep the device open that way (Linux: request_wait_answer).
 */
function serveDevice(device: Fd, below: Fd, unwanted: readonly Fd[]): void {
  directory.mounted(below)
  const { dataDir } = options
  // The lock of the data directory stays with every thread that may write to it.
  const isOwner = ownDescriptors(unwanted, `${realpathSync(dataDir)}/dbs`)
  tell({ type: "serving", isOwner })
  keepSpareDescriptors({
    count: SPARE_DESCRIPTORS,
    // What clients open stays open: they could take them all.
    isUrgent: (op) => !/^(database|wal|shm|side):open$/.test(op),
    onShort: (isShort) => {
      flags.setShort("fs", isShort)
      if (isShort) log.warn("no more files can be opened, raise the limit (ulimit -n)")
    },
  })
  const request = allocate(REQUEST_SIZE)
  const reply = allocate(REPLY_SIZE)
  const server = new FuseServer({
    fileSystem: directory,
    errnoOf,
    negativeTimeout: FOREVER,
    syncless: true, // a commit is durable in the log before it is answered (capture/capture.ts)
    posixLocks: options.forwardWrites,
    requestCounts: counters.requests,
    request,
    reply,
    send: (region, length) => sendReply(device, region.address, length),
    ...(options.fuseDebug ? { trace: (line: string) => log.debug(line) } : {}),
    onFault: (error: unknown) => log.error("a request failed on a defect", { error }),
  })
  const receiver = new MailboxReceiver<FsMessage>(options.mailboxFd)
  const mailbox = { readFd: options.mailboxFd, take: () => receiver.receive(takeMessage) }
  try {
    serve({
      ...{ device, server, request, reply, mailbox },
      afterReply: () => earlier(upkeep(), garbage.worked()),
      idle: () => earlier(upkeep(), garbage.idle()),
    })
  } catch (error) {
    closeFile(device) // who waits for an answer gets an error
    throw error
  }
  tell({ type: "unmounted" })
  storeCommits()
  databases.settle()
  closeLog()
  tell({ type: "stopped" })
}

/**
 * No transaction is added from here on, until the gate is opened or another thread has taken over. The LTX file of the
 * last one may be missing: where there is no room for it, another node is to go on.
 */
function shut(): void {
  gate.shut()
  storeCommits()
}

/**
 * Needs no room on the disk: the peer thread makes the LTX files that are missing when it opens the log, and applies
 * nothing before it can.
 */
function handOver(): DatabaseHandover[] {
  gate.shut()
  const handovers = databases.handOver()
  for (const { name, state } of handovers) {
    if (state === undefined) refused(name, "it is damaged, see the log")
  }
  role.isPrimary = false
  recent.clear()
  storeCommits()
  unstored.clear()
  closeLog()
  commitLog = undefined
  return handovers
}

function takeOver(): void {
  const handovers = takeHandover<readonly DatabaseHandover[]>()
  recent.clear()
  openLog(context.dataDir)
  databases.takeOver(handovers)
  role.isPrimary = true
  role.primaryName = undefined
  role.changedMs = systemClock.wallMs()
  storeCommits()
}

/** The LTX files of its transactions are there: the peer thread makes those that follow. */
function lend(database: string): DatabaseHandover {
  gate.materialize()
  storeCommits()
  return databases.lend(database)
}

function take(call: CallTo<FsCalls, "borrow" | "take-back">): void {
  const handover = takeHandover<DatabaseHandover>()
  callee.attempt(call, () => {
    if (call.type === "borrow") databases.borrow(handover)
    else databases.takeOver([handover])
    storeCommits()
  })
}

function takeHandover<T>(): T {
  return (must(receiveMessageOnPort(handovers), "handover") as { readonly message: T }).message
}

function countCommit(name: string, size: number, durationMs: number): void {
  const slot = positions.add(name)
  counters.add(slot, Column.COMMITS, 1)
  counters.add(slot, Column.LTX_BYTES, size)
  counters.commitTime.observe(durationMs)
}

/**
 * Makes the LTX files of new transactions, after their clients were answered, and says that there are some.
 * When that fails, returns when to try again.
 */
function storeCommits(): number | undefined {
  if (unstored.size === 0) return undefined
  if (flags.raiseChanged()) tell({ type: "changed" })
  try {
    commitLog?.materialize()
  } catch (error) {
    // Tried again after every request, and from time to time: it is reported once.
    if (canStore) log.error("cannot make an LTX file, its transaction is in the log", { error })
    canStore = false
    return STORE_RETRY_MS
  }
  canStore = true
  flags.noteRoom()
  for (const slot of unstored) positions.markStored(slot)
  unstored.clear()
  if (spares.ask()) tell({ type: "spares-wanted" })
  if (flags.raiseChanged()) tell({ type: "changed" })
  return undefined
}

/** Work of this thread that no request asks for. Returns when there is more of it. */
function upkeep(): number | undefined {
  return earlier(storeCommits(), directory.sweep())
}

function closeLog(): void {
  try {
    commitLog?.clear()
  } catch (error) {
    log.warn("cannot empty the commit log, who opens it next does", { error })
  }
  commitLog?.close()
}

function earlier(waitMs: number | undefined, other: number | undefined): number | undefined {
  return waitMs === undefined || other === undefined ? (waitMs ?? other) : Math.min(waitMs, other)
}

/** What cannot be done for others must not end what clients do. A call is answered either way. */
function takeMessage(message: FsMessage): void {
  try {
    handleMessage(message)
  } catch (error) {
    log.error("a message failed on a defect", { message: message.type, error })
    if ("call" in message) callee.fail(message, error)
  }
}

function handleMessage(message: FsMessage): void {
  switch (message.type) {
    case "shut":
      return callee.attempt(message, shut)
    case "open":
      return gate.open()
    case "measure":
      refillSpares()
      return counters.measureHeap("fs")
    case "retire":
      return databases.retire(message.database)
    case "hand-over":
      return callee.attempt(message, handOver)
    case "take-over":
      return callee.attempt(message, takeOver)
    case "primary":
      role.primaryName = message.name
      role.changedMs = systemClock.wallMs()
      return
    case "dropped":
      directory.fileRemoved(message.database)
      return
    case "switched":
      databases.find(message.database)?.switchFile(message.disguise)
      return
    case "kept": {
      const database = databases.find(message.database)
      if (database !== undefined) database.isKept = message.isKept
      return
    }
    case "freeze":
      return freeze(message)
    case "lend":
      return callee.attempt(message, () => lend(message.database))
    case "give-back":
      proposals.refuseAll(message.database)
      return callee.attempt(message, () => databases.giveBack(message.database))
    case "borrow":
    case "take-back":
      return take(message)
    case "lending":
      return databases.setLending(message.database, message.isWanted)
    case "closing":
      return databases.find(message.database)?.closing()
    case "lost":
      databases.find(message.database)?.shut()
      return proposals.refuseAll(message.database)
    case "proposal-answer":
      return proposals.answer(message.request, message.database, message.code)
    case "flock-answer":
      return directory.halts.answer(message.request, message.code)
    case "lock-file-held":
      return directory.haltBytes?.held(message.database, message.isHeld)
    case "lock-file-wanted":
      return directory.haltBytes?.wanted(message.database)
    case "lock-file-unwanted":
      return directory.haltBytes?.unwanted(message.database)
    case "writer-answer":
      return databases.find(message.database)?.borrowAnswered(message.code, message.isLate)
    case "published":
      publishing.get(message.request)?.done()
      publishing.delete(message.request)
      return
    case "written-txid":
      return callee.attempt(message, () => databases.find(message.database)?.capture?.writtenTxid)
    case "replace": {
      const outcome = replaceDatabase(directory, context, message.replace)
      storeCommits()
      return tell({ type: "replaced", request: message.request, outcome })
    }
    case "thaw":
      snapshots.get(message.snapshot)?.()
      snapshots.delete(message.snapshot)
      return
    default:
      unreachable(message)
  }
}

/** FLUSH requests that wait for the peer thread, by number. */
const publishing = new Map<number, Deferred>()
let nextRequest = 1

/** Views of databases that the peer thread reads, by the number of the snapshot: how to end them. */
const snapshots = new Map<number, () => void>()

function freeze(call: CallTo<FsCalls, "freeze">): void {
  const { snapshot, database: name } = call
  const isThere = positions.find(name) !== undefined && !databases.isDamaged(name)
  const capture = isThere ? databases.find(name)?.capture : undefined
  if (capture === undefined) return callee.answer(call, undefined)
  const sidePath = `${new DataDir(options.dataDir).databaseDir(name)}/snapshot-${snapshot}`
  const onFrozen = (view: FrozenView) => {
    snapshots.set(snapshot, () => capture.thaw(view))
    callee.answer(call, view.state)
  }
  capture.freeze(sidePath, onFrozen, () => callee.answer(call, undefined))
}

function tell(event: FsEvent, given: ArrayBuffer[] = []): void {
  self.postMessage(event, given)
}

self.onmessage = ({ data }: MessageEvent<FsCommand>) => {
  try {
    if (data.type === "start") start(data.options, data.handovers)
    else serveDevice(data.device, data.directory, data.unwanted)
  } catch (error) {
    tell({ type: "failed", message: messageOf(error) })
  }
}
