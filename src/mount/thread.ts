/**
 * The fs thread: a Worker that answers the mount.
 *
 *   new Worker ── start: recover the databases ──▶ ready ── serve: a descriptor ──▶ serving ── unmounted ──▶ stopped
 *
 * It has no event loop while it serves. Its mailbox brings it messages, and the answers to what it asks. It never
 * touches its own mount and never waits for another thread.
 *
 * On the primary it captures transactions. `handOver` and `inherit` change that while it serves, between two requests.
 * The peer thread has closed the commit log before this thread inherits. After this thread has handed over it no
 * longer uses the log, and only reads the files of databases.
 */

import { realpathSync } from "node:fs"
import type { MessagePort } from "node:worker_threads"
import type { FrozenState, FrozenView } from "../capture/frozen-view.ts"
import { type DatabaseHandover, sharedState } from "../capture/handover.ts"
import { Proposal } from "../capture/proposal.ts"
import { Deferred } from "../fuse/deferred.ts"
import { InitFlag2 } from "../fuse/flags.ts"
import type { Protocol } from "../fuse/negotiation.ts"
import { FuseServer, REPLY_SIZE, REQUEST_SIZE } from "../fuse/server.ts"
import { sendReply, serve } from "../fuse/session.ts"
import { ownBytes } from "../lib/bytes.ts"
import { earlier, systemClock } from "../lib/clock.ts"
import { type ErrorCode, LitefsError, messageOf } from "../lib/errors.ts"
import { configureLog, logger, onLine } from "../lib/log.ts"
import type { Outcome } from "../lib/outcome.ts"
import { Later, type Message, type Offers, Port } from "../lib/port.ts"
import { believed, recoverDatabases } from "../recovery/recover.ts"
import { Column, Counters } from "../store/counters.ts"
import { DataDir } from "../store/data-dir.ts"
import { segmentsPath } from "../store/log/log-segment.ts"
import { RecentTransactions } from "../store/ltx/recent-transactions.ts"
import { Positions } from "../store/positions.ts"
import { SharedFlags } from "../store/shared-flags.ts"
import { SharedLag } from "../store/shared-lag.ts"
import { watchFullDisk } from "../sys/errno.ts"
import { closeFile, type Fd } from "../sys/file.ts"
import { lockedToWriteBy, locksIfKnown } from "../sys/locks.ts"
import { allocate } from "../sys/memory.ts"
import { Garbage } from "../sys/process/garbage.ts"
import { isBeingKilled } from "../sys/process/process.ts"
import { keepSpareDescriptors, refillSpares } from "../sys/spare-descriptors.ts"
import { ownDescriptors, threadId } from "../sys/thread.ts"
import { Bypass, NO_PASSTHROUGH } from "./bypass.ts"
import { CapturedCommits } from "./captured-commits.ts"
import {
  FS_PEER,
  type FsHost,
  type FsPeer,
  type FsThread,
  type FsThreadOfPeer,
  type FsThreadOptions,
} from "./contract.ts"
import { Acknowledgements } from "./databases/acknowledgements.ts"
import { errnoOf } from "./databases/errno.ts"
import type { MountedDatabaseContext } from "./databases/mounted-database.ts"
import type { MountedDatabases } from "./databases/mounted-databases.ts"
import { Proposals } from "./databases/proposals.ts"
import { Refusals } from "./databases/refusals.ts"
import { FOREVER } from "./files/entry.ts"
import type { Role } from "./files/role.ts"
import { FsMailboxReceiver } from "./fs-mailbox.ts"
import { Directory } from "./names/directory.ts"
import { replaceDatabase } from "./names/replace.ts"

declare const self: Worker

const log = logger("fs")
const warnings = logger("mount")

let directory: Directory
let databases: MountedDatabases // of the directory
let context: MountedDatabaseContext
let options: FsThreadOptions
let role: Role
let positions: Positions
let flags: SharedFlags
let counters: Counters
let recent: RecentTransactions
let commits: CapturedCommits
let acknowledgements: Acknowledgements
let beside: MessagePort
let toPeer: MessagePort
let served: Fd | undefined // the device, from serve() on
let mountedOn = "" // device of the mount
let mayPass = false
let bypass: Bypass | undefined // when clients pass, after INIT
const garbage = new Garbage(systemClock)
/** How to end the views of databases that the peer thread reads, by snapshot. */
const snapshots = new Map<number, () => void>()

/** A commit opens a file or two, and closes them. */
const SPARE_DESCRIPTORS = 8

const offers: Offers<FsThread & FsThreadOfPeer> = {
  start: (...given) => orFail(() => start(...given)),
  serve: (device, below, on, isToPass) =>
    orFail(() => {
      directory.mounted(below)
      mountedOn = on
      mayPass = isToPass
      // Every thread that may write to the data directory keeps its lock.
      const root = realpathSync(options.dataDir)
      const isOwner = ownDescriptors([`${root}/dbs/`, segmentsPath(root)])
      served = device
      return isOwner ? threadId() : 0
    }),
  follow: () => databases.follow(),
  freeze,
  thaw: (snapshot) => {
    snapshots.get(snapshot)?.()
    snapshots.delete(snapshot)
  },
  written: (database) => {
    const capture = databases.find(database)?.capture
    capture?.finish() // a client may not come for long, and until then everything stays in the log
    return capture && { txid: capture.writtenTxid, state: sharedState(capture.history) }
  },
  shut,
  open: () => commits.gate.open(),
  handOver,
  passed: () => databases.passed,
  bar: () => databases.bar(),
  inherit,
  lending: (database, isWanted) => databases.setLending(database, isWanted),
  lend,
  giveBack: (database) => {
    proposals.refuseAll(database)
    acknowledgements.refuse(database)
    return databases.giveBack(database)
  },
  borrow,
  takeBack: (handover) => {
    databases.takeBack(handover)
    commits.store()
  },
  closing: (database) => databases.find(database)?.closing(),
  lost: (database) => {
    databases.find(database)?.shut()
    proposals.refuseAll(database)
    acknowledgements.refuse(database)
  },
  writerLate: (database) => databases.find(database)?.borrowLate(),
  replace: (request) => {
    const outcome = replaceDatabase(directory, context, request)
    commits.store()
    return outcome
  },
  recovered: (database, state) => {
    databases.recovered(database, state)
    port.tell("vanished", database) // the kernel may have listed the directory without it
    if (flags.raiseChanged()) port.tell("changed")
  },
  retire: (database) => {
    databases.retire(database)
    acknowledgements.forget(database)
  },
  measure: () => {
    refillSpares()
    counters.measureHeap("fs")
  },
  primary: (name) => {
    role.primaryName = name
    role.changedMs = systemClock.wallMs()
  },
  dropped: (database) => directory.fileRemoved(database),
  undoneForgotten: (database) => databases.undoneForgotten(database),
  switched: (database, disguise) => databases.find(database)?.switchFile(disguise),
  staleWriter: (database, isThere) => {
    const known = databases.find(database)
    if (known !== undefined) known.hasStaleWriter = isThere
  },
  lockFileWanted: (database) => directory.haltBytes?.wanted(database),
  lockFileUnwanted: (database) => directory.haltBytes?.unwanted(database),
}

/** To both other threads, whose answers come through the one mailbox. */
const port = new Port<FsThread & FsThreadOfPeer, FsHost & FsPeer>({
  send: (message) => (FS_PEER.has(message[0]) ? toPeer : self).postMessage(message),
  offers,
  // Work for others that fails must not end the work for clients.
  defect: (error, message) => log.error("a message failed on a defect", { message, error }),
})

const proposals = new Proposals({
  ask: ({ database, bytes }, then) => {
    port.ask("propose", database, ownBytes(bytes), (outcome) => then(refusalOf(outcome)))
  },
  behind: (database) => port.tell("behind", database),
  begin: () => acknowledgements.begin(),
  finish: (deferred) => acknowledgements.finish(deferred),
})

self.onmessage = ({ data }: MessageEvent<Message>) => {
  port.receive(data)
  try {
    if (served !== undefined) serveDevice(served)
  } catch (error) {
    port.tell("failed", messageOf(error))
  }
}

/** The thread cannot go on without what `act` does. */
function orFail<T>(act: () => T): T {
  try {
    return act()
  } catch (error) {
    port.tell("failed", messageOf(error))
    throw error
  }
}

function start(given: FsThreadOptions, besideMailbox: MessagePort, peer: MessagePort): string[] {
  options = given
  beside = besideMailbox
  toPeer = peer
  configureLog(options.log)
  onLine((line) => port.tell("logged", line))
  role = { isPrimary: options.isPrimary, primaryName: undefined, changedMs: 0 }
  const dataDir = new DataDir(options.dataDir, undefined, options.access)
  positions = new Positions(options.positions)
  flags = new SharedFlags(options.flags)
  counters = new Counters(options.counters)
  recent = new RecentTransactions(options.recent)
  commits = new CapturedCommits({ dataDir, positions, flags, recent, log, host: port })
  acknowledgements = new Acknowledgements({
    clock: systemClock,
    isOn: options.sync !== undefined,
    isStrict: options.sync === "strict",
    generation: () => flags.syncGeneration,
    askBefore: (database, isPatient, then) => {
      port.ask("mayCommit", database, isPatient, (outcome) => then(refusalOf(outcome)))
    },
    askAfter: ({ database, pos, isBorrowed }, then) => {
      port.ask("acknowledged", database, pos, isBorrowed, (outcome) => then(refusalOf(outcome)))
    },
    isDying: isBeingKilled,
  })
  if (role.isPrimary) commits.open()
  const states = role.isPrimary
    ? recoverDatabases(dataDir, positions, log, refused, {
        ...options.lastRun,
        unplaced: commits.unplaced,
      })
    : new Map()
  context = {
    dataDir,
    positions,
    lag: new SharedLag(options.lag),
    counters,
    role,
    refusals: new Refusals(systemClock, role),
    nodeId: options.nodeId,
    clock: systemClock,
    log: commits.gate,
    isPeer: (thread) => thread !== 0 && thread === flags.peerThreadId,
    onAppended: countCommit,
    onCommit: (name, slot) => commits.committed(name, slot),
    onVanish: (name) => port.tell("vanished", name),
    publish: (database, last) => {
      const deferred = new Deferred()
      // Always done, whatever the outcome: otherwise a process that has died could never be reaped.
      port.ask("publish", database, last, () => deferred.done())
      return deferred
    },
    onWalRemoved: (database) => port.tell("walRemoved", database),
    onRewrite: (database, then) => port.ask("rewritten", database, then),
    onUnpassed: (database) => port.tell("unpassed", database),
    onRefused: (nodeId, offset, size) => port.tell("writeRefused", { nodeId, offset, size }),
    readOnlyOpens: options.readOnlyOpens,
    bypass: () => bypass,
    lockedToWriteBy: (nodeId, byte) => {
      const locks = locksIfKnown()
      // Not known now: nobody passes, and who looks for the end of writes looks again.
      return locks === undefined ? 0 : lockedToWriteBy(locks, mountedOn, nodeId, byte)
    },
    forwarding: options.forwardWrites
      ? {
          ask: (database, isPatient) => {
            port.ask("borrowForWriter", database, isPatient, (outcome) => {
              databases.find(database)?.borrowAnswered(refusalOf(outcome))
            })
          },
          use: (database) => port.tell("inUse", database),
          giveBack: (database, isUnused) => port.tell("giveBack", database, "writer", isUnused),
        }
      : undefined,
    halts: {
      ask: (database, waits, then) => {
        port.ask("borrowForFlock", database, waits, (outcome) => then(refusalOf(outcome)))
      },
      giveBack: (database) => port.tell("giveBack", database, "flock", false),
      hold: (database) => {
        port.ask("holdLockFile", database, (outcome) => lockFileHeld(database, outcome))
      },
      granted: (database, isGranted) => port.tell("lockFileGranted", database, isGranted),
      letGo: (database) => port.tell("letLockFileGo", database),
    },
    acknowledgements,
    propose: (error, request, again, end) => {
      if (error instanceof Proposal) return proposals.add(error, again, end)
      return acknowledgements.hold(error, request, again, end)
    },
  }
  watchFullDisk(() => {
    flags.noteFull()
    if (flags.raiseChanged()) port.tell("changed")
  })
  directory = new Directory(context, states)
  databases = directory.databases
  return believed(states)
}

function refused(database: string, problem: string, mayPass: boolean): void {
  port.tell("refused", database, problem, mayPass)
}

/** Why the request is refused; undefined when it is granted. */
function refusalOf(outcome: Outcome<ErrorCode | undefined>): ErrorCode | undefined {
  return outcome.kind === "done" ? outcome.value : outcome.code
}

function lockFileHeld(database: string, outcome: Outcome<void>): void {
  if (outcome.kind === "failed") {
    warnings.warn("cannot see locks on a file, so it cannot be opened for writing", {
      ...{ file: `${database}-lock`, problem: outcome.message },
    })
  }
  directory.haltBytes?.held(database, outcome.kind === "done")
}

/**
 * The thread has a table of descriptors of its own. When the process is killed, the device is closed with this thread,
 * and the kernel gives up the requests that the thread had read. Otherwise a thread that waits for an answer to one
 * could not end, and would keep the device open (Linux: request_wait_answer).
 */
function serveDevice(device: Fd): void {
  keepSpareDescriptors({
    count: SPARE_DESCRIPTORS,
    // Clients could take all descriptors, because what they open stays open.
    isUrgent: (op) => !/^(database|wal|shm|side):open$/.test(op),
    onShort: (isShort) => {
      flags.setShort("fs", isShort)
      if (isShort) log.warn("no more files can be opened, raise the limit (ulimit -n)")
    },
  })
  const beyond = newBypass(device)
  const request = allocate(REQUEST_SIZE)
  const reply = allocate(REPLY_SIZE)
  const server = new FuseServer({
    fileSystem: directory,
    errnoOf,
    negativeTimeout: FOREVER,
    passthrough: beyond !== undefined,
    // A commit is durable in the log before it is answered (capture/capture.ts), or when its writer syncs the WAL.
    isSyncless: (isDirectory) => isDirectory || bypass === undefined,
    posixLocks: options.forwardWrites,
    requestCounts: counters.requests,
    request,
    reply,
    send: (region, length) => sendReply(device, region.address, length),
    ...(options.fuseDebug ? { trace: (line: string) => log.debug(line) } : {}),
    onFault: (error: unknown) => log.error("a request failed on a defect", { error }),
  })
  const receiver = new FsMailboxReceiver(options.mailboxFd, beside)
  const receive = (message: Message) => port.receive(message)
  const mailbox = { readFd: receiver.readFd, take: () => receiver.receive(receive) }
  try {
    serve({
      ...{ device, server, request, reply, mailbox },
      ...(beyond && { beside: { readFd: beyond.fd, take: () => beyond.take() } }),
      afterReply: () => {
        if (bypass === undefined && beyond !== undefined) decideOn(beyond, server.protocol)
        return earlier(upkeep(), garbage.worked())
      },
      idle: () => earlier(upkeep(), garbage.idle()),
    })
  } catch (error) {
    closeFile(device) // clients that wait for an answer get an error
    throw error
  }
  port.tell("unmounted")
  commits.store()
  for (const thaw of snapshots.values()) thaw() // nobody will be told to end them any more
  snapshots.clear()
  const isSettled = databases.settle()
  commits.close()
  port.tell("stopped", isSettled)
}

function newBypass(device: Fd): Bypass | undefined {
  if (!mayPass) return undefined
  try {
    return new Bypass(device, systemClock)
  } catch (error) {
    mayPass = false
    port.tell("passing", messageOf(error))
    return undefined
  }
}

/** Whether clients pass, which INIT has decided. No other request was answered before. */
function decideOn(beyond: Bypass, protocol: Protocol | undefined): void {
  if (!mayPass || protocol === undefined) return
  const isOffered = (protocol.flags2 & InitFlag2.PASSTHROUGH) !== 0
  const { mountedPath } = new DataDir(options.dataDir)
  const problem = isOffered ? beyond.obstacle(mountedPath) : NO_PASSTHROUGH
  if (problem === undefined) bypass = beyond
  mayPass = bypass !== undefined
  port.tell("passing", problem)
}

/**
 * Adds no transaction from here on, until the gate is opened or another thread has inherited. The LTX file of the last
 * transaction may be missing: when there is no room for it, another node should take over.
 */
function shut(): void {
  commits.gate.shut()
  commits.store()
}

/**
 * Needs no room on the disk: the peer thread makes the missing LTX files when it opens the log, and applies nothing
 * before that succeeds. Only what clients have committed past this thread since it was shut needs room.
 */
function handOver(): DatabaseHandover[] {
  acknowledgements.refuse()
  const handovers = handOverAll()
  for (const { name, state } of handovers) {
    if (state === undefined) refused(name, "it is damaged, see the log", false)
  }
  role.isPrimary = false
  recent.clear()
  commits.store()
  commits.close()
  return handovers
}

function handOverAll(): DatabaseHandover[] {
  if (databases.passed.length > 0) commits.gate.open()
  else commits.gate.shut()
  try {
    return databases.handOver()
  } finally {
    commits.gate.shut()
  }
}

function inherit(handovers: readonly DatabaseHandover[]): void {
  for (const { name } of handovers) databases.endUndone(name) // when one stays, nothing has changed
  recent.clear()
  commits.open()
  databases.inherit(handovers)
  role.isPrimary = true
  role.primaryName = undefined
  role.changedMs = systemClock.wallMs()
  commits.store()
}

/** The LTX files of the database exist up to here; the peer thread makes the next ones. */
function lend(database: string): DatabaseHandover {
  databases.get(database).follow()
  commits.gate.materialize(database)
  commits.store()
  return databases.lend(database)
}

/** The primary may have to be asked first. */
function borrow(handover: DatabaseHandover): Later<void> | undefined {
  const begin = databases.borrow(handover)
  try {
    begin()
    commits.store()
    return undefined
  } catch (error) {
    if (!(error instanceof Proposal)) throw error
    return new Later((answer, fail) => {
      let isDone = false
      const again = () => {
        begin()
        isDone = true
      }
      const end = () => {
        if (!isDone) return
        commits.store()
        answer()
      }
      proposals.add(error, again, end).bind(() => {
        const problem = "its clients have seen another history, and the primary has not heard of it"
        if (!isDone)
          fail(new LitefsError("no-lock", `Cannot borrow "${handover.name}": ${problem}`))
      })
    })
  }
}

function countCommit(name: string, size: number, durationMs: number): void {
  const slot = positions.add(name)
  counters.add(slot, Column.COMMITS, 1)
  counters.add(slot, Column.LTX_BYTES, size)
  counters.commitTime.observe(durationMs)
}

/** Does the work of this thread that no request asks for. Returns when there is more of it. */
function upkeep(): number | undefined {
  const waitMs = earlier(earlier(commits.store(), directory.sweep()), context.refusals.sweep())
  return earlier(earlier(waitMs, acknowledgements.sweep()), bypass?.followDue())
}

function freeze(snapshot: number, name: string): Later<FrozenState | undefined> | undefined {
  const isThere = positions.find(name) !== undefined && !databases.isDamaged(name)
  const capture = isThere ? databases.find(name)?.capture : undefined
  if (capture === undefined) return undefined
  const sidePath = `${new DataDir(options.dataDir).databaseDir(name)}/snapshot-${snapshot}`
  return new Later((answer) => {
    const onFrozen = (view: FrozenView) => {
      snapshots.set(snapshot, () => capture.thaw(view))
      answer(view.state)
    }
    capture.freeze(sidePath, onFrozen, () => answer(undefined))
  })
}
