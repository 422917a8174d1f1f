/**
 * The key with which the nodes of a cluster seal the lease records that they tell, `<data>/clusterkey`: 64 hexadecimal
 * digits and a newline.
 *
 *   first primary ── draws it ──▶ every node that follows gets it with its stream (`Litefs-Cluster-Key`), and keeps it
 *
 * A sealed record is thus the word of a node that has been in the cluster, whatever way it comes, and even when its
 * sender cannot be reached. The key is no better protected than the stream: where the API asks for no token, every
 * follower gets it.
 */
import { createHmac, timingSafeEqual } from "node:crypto"
import { messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { type SmallFiles, smallFiles } from "../../store/small-files.ts"
import type { HeardLease, LeaseRecord } from "./lease.ts"

const log = logger("member")

export const CLUSTER_KEY_HEADER = "litefs-cluster-key"

const PATTERN = /^[0-9a-f]{64}$/

/** Whether the file has a key; undefined when there is no file. */
export function isClusterKey(path: string, files = smallFiles): boolean | undefined {
  const bytes = files.read("cluster-key", path)
  return bytes && PATTERN.test(new TextDecoder().decode(bytes).trim())
}

export class ClusterKey {
  readonly #path: string
  readonly #files: SmallFiles
  #value: string | undefined

  constructor(path: string, files = smallFiles) {
    this.#path = path
    this.#files = files
    const bytes = files.read("cluster-key", path)
    if (bytes === undefined) return
    const text = new TextDecoder().decode(bytes).trim()
    if (PATTERN.test(text)) this.#value = text
    else log.warn("the key of the cluster cannot be read, the primary has another", { path })
  }

  /** Undefined on a node that has not been in a cluster. */
  get value(): string | undefined {
    return this.#value
  }

  /** On a primary without a key. */
  make(random: (size: number) => Buffer): void {
    if (this.#value === undefined) this.#keep(random(32).toString("hex"))
  }

  /** Takes the key of the primary that this node follows. */
  learn(text: unknown): void {
    if (typeof text === "string" && PATTERN.test(text) && text !== this.#value) this.#keep(text)
  }

  seal(record: LeaseRecord, cluster: string | undefined): string | undefined {
    if (this.#value === undefined) return undefined
    const { epoch, primary } = record
    const text = JSON.stringify([cluster ?? "", epoch, primary.id, primary.hostname, primary.url])
    return createHmac("sha256", Buffer.from(this.#value, "hex")).update(text).digest("hex")
  }

  /** Whether this key made the seal. */
  hasSealed({ record, cluster, seal = "" }: HeardLease): boolean {
    const own = this.seal(record, cluster)
    if (own === undefined || !PATTERN.test(seal)) return false
    return timingSafeEqual(Buffer.from(seal, "hex"), Buffer.from(own, "hex"))
  }

  /** A disk that cannot keep it stops nobody from following, or from being the primary. */
  #keep(value: string): void {
    this.#value = value
    try {
      this.#files.replace("cluster-key", this.#path, new TextEncoder().encode(`${value}\n`))
    } catch (error) {
      log.warn("cannot keep the key of the cluster", {
        path: this.#path,
        problem: messageOf(error),
      })
    }
  }
}
