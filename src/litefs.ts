/**
 * A whole node, made of three boxes. Only this file says `new` across layers.
 *
 *   front door   node/front-door/front-door.ts   the API, the socket, the proxy; what others are told
 *   membership   node/membership/membership.ts   the place among the others: the role, the primary, borrowed locks
 *   storage      node/storage/storage.ts      the data directory, the threads with the databases, the mount
 *
 * A box knows those below it. The node starts in this order, and ends in the reverse order:
 *
 *   data directory ─▶ commit log ─▶ connections to others ─▶ disk, snapshots ─▶ proxy ─▶ API, socket
 *     ─▶ who is the primary ─▶ databases ─▶ mount ─▶ upkeep ─▶ stream, write locks, role
 *
 * The boxes take turns in it. Whoever starts something puts it on `closing` at once: a start that fails in the middle
 * ends what it has started (node/closing.ts).
 *
 * Of the three threads this one never touches the mount, which the fs thread answers: clients cannot hold it up. The
 * disk can, since it reads the data directory itself, including LTX files for its streams. The fs thread captures
 * transactions; the peer thread acts on databases as one more SQLite process, through the mount.
 */
import type { NodeFacts } from "./cli/command/child-environment.ts"
import type { Arriving, NodeSummary } from "./cli/command/supervisor-state.ts"
import type { NodeStatus } from "./cluster/node-status.ts"
import type { LeaseNode } from "./cluster/role/lease.ts"
import { TlsFiles } from "./http/server/tls-files.ts"
import { notReady } from "./http/status/health.ts"
import { orAborted } from "./lib/abort.ts"
import { must } from "./lib/assert.ts"
import { systemClock } from "./lib/clock.ts"
import { LitefsError, messageOf } from "./lib/errors.ts"
import { logger } from "./lib/log.ts"
import type { LiteFSOptions } from "./litefs-options.ts"
import { formatPos } from "./ltx/pos.ts"
import { Closing } from "./node/closing.ts"
import { FrontDoor } from "./node/front-door/front-door.ts"
import { Membership } from "./node/membership/membership.ts"
import { recoverMount } from "./node/storage/stale-mount.ts"
import { Storage } from "./node/storage/storage.ts"
import { ourSurroundings } from "./node/surroundings.ts"
import { startUpkeep } from "./node/upkeep.ts"
import { NodeWorkers, newWorker } from "./workers.ts"

const log = logger("litefs")

export class LiteFS {
  readonly #options: LiteFSOptions
  readonly #closing = new Closing(systemClock)
  readonly #failed = Promise.withResolvers<Error>()
  #membership: Membership | undefined
  #frontDoor: FrontDoor | undefined
  #promoted: Promise<void> | undefined
  #leaving: Promise<void> | undefined

  /** `workers` are those of one node, if they were started before. */
  static async open(options: LiteFSOptions, workers = new NodeWorkers()): Promise<LiteFS> {
    const node = new LiteFS(options)
    try {
      await node.#open(workers)
      return node
    } catch (error) {
      await node.close().catch(() => {}) // what failed first tells why
      throw error
    }
  }

  /** Deals with the mount that a killed daemon has left. */
  static async recoverMount(options: Pick<LiteFSOptions, "fuseDir" | "dataDir">): Promise<void> {
    await recoverMount(options)
  }

  private constructor(options: LiteFSOptions) {
    this.#options = options
  }

  /** Resolves when the node cannot go on. */
  get failed(): Promise<Error> {
    return this.#failed.promise
  }

  /**
   * Resolves when the mount answers and, on a replica, holds what the primary had; with `promote`, when this node is
   * the primary. Rejects when that is impossible.
   */
  async ready(signal?: AbortSignal): Promise<void> {
    const ready = this.#promoted ?? must(this.#frontDoor, "front door").isReady
    await (signal === undefined ? ready : orAborted(ready, signal))
  }

  /** What the node is waiting for, if it is not ready. */
  waitsFor(): string | undefined {
    return this.#frontDoor && notReady(this.#frontDoor.api.status)
  }

  /** Names of databases that are left out. */
  leftOut(): string[] {
    const databases = this.#frontDoor?.api.status.databases() ?? []
    return [...databases].flatMap(({ name, condition }) => (condition === "left-out" ? [name] : []))
  }

  /** Facts for commands next to this node. */
  facts(): NodeFacts {
    const { role, hostname, advertiseUrl } = this.#options
    const { isPrimary, primary } = this
    const knownUrl = role.kind === "replica" ? role.primaryUrl : undefined
    return {
      isPrimary,
      isCandidate: this.#membership?.node.isCandidate === true,
      port: this.#frontDoor?.port ?? 0,
      socketPath: this.#frontDoor?.socketPath,
      primaryHostname: isPrimary
        ? hostname
        : (primary?.hostname ?? this.#membership?.followed.name),
      primaryUrl: isPrimary ? advertiseUrl : (primary?.url ?? knownUrl),
    }
  }

  summary(): NodeSummary {
    const status = this.#status
    const { identity, isPrimary } = status
    return {
      ...{ version: identity.version, role: isPrimary ? "primary" : "replica" },
      primaryUrl: this.facts().primaryUrl,
      databases: [...status.databases()].map(({ name, pos, commit, pageSize, problem }) => ({
        ...{ name, position: formatPos(pos), size: commit * pageSize, problem },
      })),
    }
  }

  arriving(): Arriving | undefined {
    const { isPrimary, isReady, lag } = this.#status
    const progress = this.#membership?.followed.progress
    if (isPrimary || progress === undefined) return undefined
    const { snapshots, appliedCount } = progress
    return { isReady, snapshots, appliedCount, missingCount: lag.transactions }
  }

  get #status(): NodeStatus {
    return must(this.#frontDoor, "front door").api.status
  }

  get isPrimary(): boolean {
    return this.#membership?.member.isPrimary === true
  }

  /** The primary by the newest record that this node has heard; it may be this node. */
  get primary(): LeaseNode | undefined {
    return this.#membership?.member.record?.primary
  }

  /**
   * On a primary with a proxy, before it stops: another node becomes the primary, while the application still answers
   * its requests and the proxy sends the rest there. Without a proxy the application may have to write until it ends,
   * and close() does it. A replica takes no role from here on.
   */
  leave(): Promise<void> | undefined {
    this.#membership?.leaving()
    if (this.#options.proxy === undefined || !this.isPrimary) return undefined
    return this.#handOff()
  }

  /** Rejects when something fails in it: not all is done that a clean stop promises. */
  async close(): Promise<void> {
    const closing = this.#closing
    const hasFailed = closing.hasFailed
    this.#membership?.leaving()
    await this.#handOff()
    await closing.close()
    if (!hasFailed && closing.hasFailed) throw await this.#failed.promise
  }

  #handOff(): Promise<void> | undefined {
    const { handoffOnExit, proxy } = this.#options
    if (handoffOnExit === false || this.#closing.hasFailed) return undefined
    const handOff = () => this.#frontDoor?.handoffs.leave(proxy !== undefined)
    this.#leaving = this.#leaving?.then(handOff) ?? handOff()
    return this.#leaving
  }

  async #open(workers: NodeWorkers): Promise<void> {
    const [options, closing] = [this.#options, this.#closing]
    const fail = (error: Error) => {
      closing.failed()
      this.#failed.resolve(error)
    }
    const tls = options.tls && new TlsFiles(options.tls)
    const storage = new Storage({ options, workers, closing, fail })
    const membership = new Membership({
      ...{ options, surroundings: ourSurroundings, storage, tls, closing, fail },
    })
    this.#membership = membership
    if (workers.problem !== undefined) {
      throw new LitefsError("io", `Cannot open the node: ${workers.problem}`)
    }
    const frontDoor = new FrontDoor({
      ...{ options, storage, membership, tls, closing },
      newCheckWorker: () => newWorker("./peer/serve/check-thread.ts"),
    })
    this.#frontDoor = frontDoor
    await frontDoor.open()

    const isPrimary = await membership.begin(frontDoor, frontDoor.port)
    const believed = await storage.start({ isPrimary, ...membership.forThreads })
    const { isSettled } = membership.member // a newer lease record may have come
    log.info("mounted", {
      ...{ dir: options.fuseDir, role: isPrimary && isSettled ? "primary" : "replica" },
      http: `${options.httpAddr.host}:${frontDoor.port}`,
      capture: storage.threads.capture?.mode,
    })

    membership.watch()
    startUpkeep({ retention: options.retention, believed, storage, membership, frontDoor, closing })
    membership.start(frontDoor)
    if (options.promote === true) {
      this.#promoted = promote(frontDoor)
      this.#promoted.catch(() => {}) // it is logged, and kept for whoever waits
    }
  }
}

/** Runs with `promote`, even when nobody waits for it. */
async function promote({ isReady, handoffs }: FrontDoor): Promise<void> {
  await isReady
  try {
    await handoffs.promote()
  } catch (error) {
    log.error("cannot become the primary", { problem: messageOf(error) })
    throw error
  }
}
