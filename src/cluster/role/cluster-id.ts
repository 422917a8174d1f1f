import { LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { type SmallFiles, smallFiles } from "../../store/small-files.ts"

const log = logger("member")

/**
 * The name of a cluster, "LFSC" and 16 hexadecimal digits. Its first primary makes it and every replica takes it over:
 * it keeps a node from following the primary of another cluster.
 */
const PATTERN = /^LFSC[0-9A-F]{16}$/

/** Of a node that has followed a primary. */
export const NO_CLUSTER =
  "does not know its cluster id yet, which it learns from its primary; if that is gone, copy the file clusterid " +
  "from the data directory of another node of the cluster, and restart it"

export function makeClusterId(random: () => bigint): string {
  return `LFSC${random().toString(16).toUpperCase().padStart(16, "0")}`
}

export function isClusterId(value: unknown): value is string {
  return typeof value === "string" && PATTERN.test(value)
}

export function readClusterId(path: string, files = smallFiles): string | undefined {
  const bytes = files.read("cluster-id", path)
  if (bytes === undefined) return undefined
  const id = new TextDecoder().decode(bytes).trim()
  if (PATTERN.test(id)) return id
  throw new LitefsError("damaged", `Cannot read "${path}": it holds no cluster id`)
}

export function writeClusterId(path: string, id: string, files = smallFiles): void {
  if (!PATTERN.test(id)) {
    throw new LitefsError("usage", `Cannot use cluster id "${id}": LFSC and 16 hex digits expected`)
  }
  files.replace("cluster-id", path, new TextEncoder().encode(`${id}\n`))
}

/** What a data directory tells of the cluster that its node was in. */
export interface ClusterPast {
  /** The id, as it was kept beside the lease record. */
  readonly copy: string | undefined
  readonly hasRecord: boolean
  readonly hasKey: boolean
  readonly hasDatabases: boolean
}

/** The cluster that this node belongs to, if known. */
export class ClusterId {
  readonly #path: string
  readonly #copy: (id: string) => void
  readonly #files: SmallFiles
  #value: string | undefined

  /** `copy` is told each known id, to keep it somewhere else as well. */
  constructor(path: string, copy: (id: string) => void = () => {}, files = smallFiles) {
    this.#path = path
    this.#copy = copy
    this.#files = files
    this.#value = readClusterId(path, files)
    if (this.#value !== undefined) copy(this.#value)
  }

  /** Undefined on a node that has never been in a cluster. */
  get value(): string | undefined {
    return this.#value
  }

  /**
   * At the start of a primary. Only the first one of a cluster makes an id: with another one all replicas would refuse
   * it. An id that was lost comes back from its copy, if that is there.
   */
  ensure(past: ClusterPast, random: () => bigint): void {
    if (this.#value !== undefined) return
    const { copy, hasRecord, hasKey, hasDatabases } = past
    if (copy !== undefined) {
      this.#keep(copy)
      log.warn("the file with the cluster id was gone, made it again from a copy", { id: copy })
      return
    }
    if (hasRecord || hasKey) {
      const evidence = hasRecord
        ? "it has been handed the role of primary"
        : "there is a clusterkey"
      throw new LitefsError(
        "damaged",
        `Cannot be the primary: there is no "${this.#path}", but this node has been in a cluster, ${evidence}; ` +
          "copy the file clusterid from the data directory of another node of the cluster, " +
          "or remove lease.json and clusterkey here to begin a new cluster, which the replicas of the old one refuse",
      )
    }
    this.#keep(makeClusterId(random))
    if (!hasDatabases) return log.info("began a new cluster", { id: this.#value, file: this.#path })
    log.warn(
      "made a cluster id for the databases that are here; nodes of a cluster that they come from refuse this node",
      { id: this.#value },
    )
  }

  /** A node that knows this one as the primary of its cluster says which one that is. */
  recall(id: string): void {
    if (this.#value !== undefined || !PATTERN.test(id)) return
    this.#keep(id)
    log.warn("the file with the cluster id was gone, made it again after a peer's word", { id })
  }

  /** A node without an id is no primary: who follows it would learn none, and never be one (handoffs.ts). */
  checkKnown(what: string): void {
    if (this.#value === undefined) {
      throw new LitefsError("unavailable", `Cannot ${what}: this node ${NO_CLUSTER}`)
    }
  }

  /** Keeps the first id; throws when it differs from ours. */
  check(id: string): void {
    if (this.#value === undefined) this.#keep(id)
    if (this.#value === id) return
    throw new LitefsError(
      "unavailable",
      `it belongs to cluster ${id}, this node to ${this.#value}, see ${this.#path}; ` +
        "the URL should be that of a node of this one's cluster, or the data directory there was emptied",
    )
  }

  #keep(id: string): void {
    writeClusterId(this.#path, id, this.#files)
    this.#value = id
    this.#copy(id)
  }
}
