/**
 * The two threads that have the databases (mount/thread.ts, peer/thread.ts), and the mount between them.
 *
 *   start() ─▶ recovered ─▶ mount() ─▶ serve() ─▶ mounted ─▶ unmount()
 *
 * Messages from one of them to the other pass through here, unless a client waits for them: then they go straight
 * (FsPeer in mount/contract.ts). Requests of clients to other nodes go to
 * cluster/locks/halting.ts. That file and cluster/role/role-switch.ts decide which thread has which database.
 */
import { MessageChannel } from "node:worker_threads"
import type { Halting } from "../../cluster/locks/halting.ts"
import type { CaptureStatus } from "../../cluster/node-status.ts"
import { must } from "../../lib/assert.ts"
import { every, sleep, systemClock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { logger, passLine } from "../../lib/log.ts"
import type { CaptureOptions, LiteFSOptions } from "../../litefs-options.ts"
import type { FsMailbox } from "../../mount/fs-mailbox.ts"
import { FsWorker } from "../../mount/fs-worker.ts"
import type { ReplaceRequest } from "../../mount/names/replace.ts"
import { PeerWorker } from "../../peer/peer-worker.ts"
import type { LastRun } from "../../recovery/recover.ts"
import type { DataDir } from "../../store/data-dir.ts"
import type { SharedLag } from "../../store/shared-lag.ts"
import { closeFile, type Fd } from "../../sys/file.ts"
import type { FileAccess } from "../../sys/file-access.ts"
import {
  abortMount,
  cloneDevice,
  type Mount,
  mountFuse,
  mountsAt,
  mountsIfKnown,
  unmount,
} from "../../sys/mount.ts"
import { userId } from "../../sys/thread.ts"
import type { Databases } from "./databases.ts"
import type { LogSegments } from "./log-segments.ts"
import { obstacleOf, thisMachine } from "./passing.ts"
import { forgetMount, lastRun, rememberMount } from "./stale-mount.ts"

const log = logger("litefs")

/** Files that clients still have open keep the fs thread busy. It then ends with the process. */
const UNMOUNT_MS_MAX = 3000
/** A mount that is taken away while clients have files of it open (umount -l) is noticed within this time. */
const LOOK_MS = 5000

export interface ThreadsContext {
  readonly options: LiteFSOptions
  readonly dataDir: DataDir
  /** For databases that no client makes. */
  readonly access: FileAccess | undefined
  readonly databases: Databases
  readonly lag: SharedLag
  readonly segments: Pick<LogSegments, "missing">
  /** A thread cannot go on. */
  fail(error: Error): void
}

/** What the threads start as. */
export interface ThreadRole {
  readonly isPrimary: boolean
  readonly nodeId: string // 16 hexadecimal digits
  /** This node may become the primary. */
  readonly isCandidate: boolean
  /** Takes what clients of the mount ask of other nodes. */
  readonly halting: Halting
}

export interface Workers {
  readonly peer: Worker
  readonly fs: Worker
  /** Of the fs thread; undefined: a new one. */
  readonly mailbox?: FsMailbox
}

export class Threads {
  readonly peer: PeerWorker
  readonly fs: FsWorker
  readonly #context: ThreadsContext
  readonly #recovered = Promise.withResolvers<void>()
  readonly #mounted = Promise.withResolvers<void>()
  #halting: Halting | undefined // set by start(): clients come after it
  #lastRun: LastRun = { isSameBoot: false }
  #mount: Mount | undefined
  /** The fs thread has a table of descriptors of its own, and only that table has the descriptors of the mount. */
  #isOwnedByThread = false
  #notifier: Fd | undefined
  /** Device of the mount, as in /proc/self/mountinfo. */
  #mountDevice: string | undefined
  /** Why no client passes the fs thread, as far as is known before it is asked. */
  #obstacle: string | undefined
  readonly #passing = Promise.withResolvers<string | undefined>()
  #capture: CaptureStatus | undefined
  #remembered: { notBehind(): void } | undefined
  #isEnding = false
  #stopLooking = () => {}

  constructor(workers: Workers, context: ThreadsContext) {
    const { databases, segments, fail } = context
    const halting = () => must(this.#halting, "node to ask")
    this.#context = context
    const common = {
      changed: () => databases.announceChange(),
      refused: (...refusal: [string, string, boolean]) => databases.noteRefused(...refusal),
      unmade: (problems: [database: string, problem: string][]) => databases.noteUnmade(problems),
      segmentMissing: (segment: number) => segments.missing(segment),
      logged: passLine,
    }
    const replace = (request: ReplaceRequest) => this.fs.call("replace", request)
    const peer = new PeerWorker(workers.peer, { ...common, replace }, fail)
    this.peer = peer
    this.fs = new FsWorker(
      workers.fs,
      {
        ...common,
        passing: (problem) => this.#passing.resolve(problem),
        unpassed: (database) => peer.tell("unpassed", database),
        vanished: (name) => peer.tell("vanished", name),
        writeRefused: (range) => peer.tell("writeRefused", range),
        segmentFull: (segment) => peer.tell("releaseSegment", segment),
        sparesWanted: () => peer.tell("makeSpares"),
        propose: (database, bytes) =>
          halting()
            .propose(database, bytes)
            .catch(() => "unavailable"),
        mayCommit: (...asked) => halting().mayCommit(...asked),
        acknowledged: (...commit) => halting().acknowledged(...commit),
        behind: (database) => halting().behind(database),
        borrowForFlock: (database, waits) => halting().borrowForFlock(database, waits),
        borrowForWriter: (database, isPatient) => {
          const late = () => this.fs.tell("writerLate", database)
          return halting().borrowForWriter(database, isPatient, late)
        },
        inUse: (database) => halting().inUse(database),
        giveBack: (...given) => halting().giveBack(...given),
      },
      (error) => {
        this.#passing.resolve(error.message)
        this.#abort()
        fail(error)
      },
      workers.mailbox,
    )
  }

  /** Resolves when the positions of the databases are known. */
  get recovered(): Promise<void> {
    return this.#recovered.promise
  }

  /** Resolves when the mount answers. */
  get mounted(): Promise<void> {
    return this.#mounted.promise
  }

  /** Recovers the databases. Resolves with those whose saved checksums were believed. */
  async start(given: ThreadRole): Promise<readonly string[]> {
    const { isPrimary, nodeId, isCandidate, halting } = given
    const { options, dataDir, access, databases, lag } = this.#context
    this.#halting = halting
    this.#lastRun = lastRun(dataDir, BigInt(`0x${nodeId}`))
    const { role, fuseDir, hostname, fuseDebug, forwardWrites = false } = options
    const { readOnlyOpens = !isCandidate && !forwardWrites } = options
    const shared = {
      dataDir: dataDir.root,
      access,
      positions: databases.positions.memory,
      flags: databases.flags.memory,
      lag: lag.memory,
      counters: databases.counters.memory,
      isPrimary,
      nodeId: BigInt(`0x${nodeId}`),
      lastRun: this.#lastRun,
      log: options.log,
    }
    const filter = role.kind === "primary" ? undefined : role.databases
    const { fs, peer } = this
    const recent = databases.recent.memory
    const between = new MessageChannel()
    const believed = await Promise.all([
      fs.start(
        {
          ...shared,
          recent,
          fuseDebug,
          forwardWrites,
          readOnlyOpens,
          sync: options.sync?.mode,
        },
        between.port1,
      ),
      peer.call(
        "start",
        { ...shared, databases: filter, fuseDir, hostname, mailboxFd: fs.mailboxFd },
        between.port2,
      ),
    ])
    this.#recovered.resolve()
    return believed.flat()
  }

  /** From here on unmount() is needed. */
  mount(): void {
    const { options, dataDir } = this.#context
    const { fuseDir, allowOther = userId() === 0 } = options
    this.#mount = mountFuse(fuseDir, allowOther)
    const mount = mountsAt(fuseDir).at(-1)
    this.#mountDevice = mount?.device
    this.#obstacle = obstacleFor(options.capture, mount?.isShared === true)
    const isBehind = this.#obstacle === undefined || this.#isPastNeeded
    this.#remembered = rememberMount(dataDir, fuseDir, isBehind)
  }

  /** A database that was refused has its WAL as those clients have left it. */
  get #isPastNeeded(): boolean {
    return this.#lastRun.past?.isSameBoot === true && this.#context.databases.refused.size > 0
  }

  /**
   * Nobody answers the mount any more. The command and the peer thread, which may wait for it, get an error: otherwise
   * they could neither be stopped nor killed.
   */
  #abort(): void {
    if (this.#mountDevice === undefined) return
    log.error("the mount has failed, its clients get errors")
    const device = this.#isOwnedByThread ? undefined : this.#mount?.device
    const descriptors = [device, this.#notifier].filter((fd) => fd !== undefined)
    abortMount(this.#context.options.fuseDir, this.#mountDevice, descriptors)
  }

  async serve(): Promise<void> {
    const mount = must(this.#mount, "mount")
    const notifier = cloneDevice(mount.device)
    this.#notifier = notifier
    const mayPass = this.#obstacle === undefined
    const on = this.#mountDevice ?? ""
    const fsThread = await this.fs.serve(mount, on, mayPass)
    this.#isOwnedByThread = fsThread !== 0
    await this.#decideCapture(mayPass)
    if (await this.peer.call("mounted", notifier, fsThread)) {
      this.#notifier = undefined
      closeFile(notifier)
    }
    this.#mounted.resolve()
    this.#stopLooking = every(systemClock, LOOK_MS, () => this.#look())
    void this.fs.unmounted.then(() => {
      this.#gone() // also after umount -f, which only ends its answers
      this.#mountDevice = undefined // it may be another mount's now, perhaps of another program
    })
  }

  /** Says it, where a user may have expected otherwise. */
  async #decideCapture(mayPass: boolean): Promise<void> {
    const { wanted } = this.#context.options.capture
    const gone = this.fs.unmounted.then(() => "the mount is gone")
    const problem = mayPass ? await Promise.race([this.#passing.promise, gone]) : this.#obstacle
    if (problem === undefined) {
      const reason = wanted === "auto" ? "the kernel lets writers pass" : "--capture behind"
      this.#capture = { mode: "behind", reason }
      return
    }
    this.#capture = { mode: "strict", reason: problem }
    if (mayPass && !this.#isPastNeeded) this.#remembered?.notBehind()
    const message = "writers of a WAL do not pass LiteFS, as with --capture strict"
    if (wanted === "auto") log.info(message, { reason: problem })
    if (wanted === "behind") log.warn(message, { reason: problem })
  }

  /** Undefined until the mount answers. */
  get capture(): CaptureStatus | undefined {
    return this.#capture
  }

  /** Without the mount, clients would write to files of the directory below, and nobody would replicate those. */
  #look(): void {
    const mounts = mountsIfKnown(this.#context.options.fuseDir)
    if (mounts === undefined) return // the next look may tell
    if (!mounts.some(({ device }) => device === this.#mountDevice)) this.#gone()
  }

  #gone(): void {
    const { options, fail } = this.#context
    if (this.#isEnding) return
    this.#isEnding = true
    const danger = "clients would write to the directory below"
    const problem = `somebody has unmounted "${options.fuseDir}", and ${danger}, start litefs again`
    fail(new LitefsError("unavailable", `Cannot go on: ${problem}`))
  }

  /**
   * Resolves when the positions have everything that clients have committed. Undefined: they always have, because
   * clients commit through the fs thread.
   */
  get captured(): (() => Promise<void>) | undefined {
    if (this.#context.options.capture.wanted === "strict") return undefined
    return async () => {
      if (this.#capture?.mode === "strict") return
      await this.fs.call("follow").catch(() => {}) // a thread that has ended captures nothing more
    }
  }

  /** Makes both threads report, in shared memory, how large their heaps are and whether they can open files. */
  measure(): void {
    this.fs.tell("measure")
    this.peer.tell("measure")
  }

  async unmount(): Promise<void> {
    const { fs, peer } = this
    this.#isEnding = true
    this.#stopLooking()
    await fs.call("bar").catch(() => {})
    await peer.call("detach").catch(() => {}) // a thread that has ended has nothing open
    const problem = unmount(this.#context.options.fuseDir)
    if (problem !== undefined) {
      const advice = problem.includes("mtab") ? "ln -s /proc/self/mounts /etc/mtab" : undefined
      return log.warn("cannot unmount, the next start takes longer", {
        problem,
        advice,
      })
    }
    const isFree = await Promise.race([
      fs.unmounted.then(() => true),
      sleep(systemClock, UNMOUNT_MS_MAX).then(() => false),
    ])
    if (isFree) {
      const [isSettled] = await Promise.all([fs.stopped, peer.call("settle").catch(() => {})])
      const isBehind = !isSettled && this.#capture?.mode !== "strict"
      forgetMount(this.#context.dataDir, isBehind || this.#isPastNeeded)
    } else log.warn("files of the mount are still open, the next start takes longer")
  }
}

function obstacleFor({ wanted, obstacle }: CaptureOptions, isShared: boolean): string | undefined {
  if (wanted === "strict") return "--capture strict"
  if (wanted === "behind") return undefined
  return obstacle ?? obstacleOf(thisMachine(isShared))
}
