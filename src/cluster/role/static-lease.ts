/**
 * The lease record of this node, in `<data>/lease.json`: replaced as a whole, and durable before it counts.
 *
 *     {"id":…, "epoch":…, "primary":{…}, "reached":{"id":…,"url":…}, "unfenced":[…], "cluster":…, "history":…}
 *
 * `id` is this node's, drawn once. It goes with the data directory: a copy of the directory for another node must not
 * contain the file. `reached` is the address at which the primary was last reached, perhaps one from a user
 * (`--primary-url`); `unfenced` are former primaries, and peers, that have not heard yet which node is the primary;
 * `cluster` is a copy of the cluster id, for a primary that has lost the file of it; `history` is the epoch of the
 * history that the databases here are on, for a lease in a store (election.ts).
 */
import { LitefsError } from "../../lib/errors.ts"
import { type SmallFiles, smallFiles } from "../../store/small-files.ts"
import { isClusterId } from "./cluster-id.ts"
import { asRecord, EPOCH_MAX, isEpoch, isNewer, type Lease, type LeaseRecord } from "./lease.ts"

interface Reached {
  readonly id: string
  readonly url: string
}

interface Content {
  readonly id: string
  readonly record: LeaseRecord | undefined
  readonly reached: Reached | undefined
  readonly unfenced: readonly string[]
  readonly cluster?: string | undefined
  readonly history?: number | undefined
}

export class StaticLease implements Lease {
  readonly kind: string = "static"
  readonly isHeld: boolean = true
  readonly #path: string
  readonly #files: SmallFiles
  #content: Content
  #isUnsure = false

  /** `makeId` draws the id of a node that has none. */
  constructor(path: string, makeId: () => bigint, files = smallFiles) {
    this.#path = path
    this.#files = files
    const content = readLeaseFile(path, files)
    if (content !== undefined) {
      this.#content = content
      return
    }
    const id = makeId().toString(16).toUpperCase().padStart(16, "0")
    this.#content = { id, record: undefined, reached: undefined, unfenced: [] }
    this.#save(this.#content)
  }

  get id(): string {
    return this.#content.id
  }

  get record(): LeaseRecord | undefined {
    return this.#content.record
  }

  get unfenced(): readonly string[] {
    return this.#content.unfenced
  }

  /** `unfenced` are the nodes that have to hear of it. */
  keep(record: LeaseRecord, unfenced: readonly string[] = []): void {
    if (!isNewer(record, this.record)) return
    this.#save({
      ...this.#content,
      record,
      unfenced: [...new Set([...this.unfenced, ...unfenced])],
    })
  }

  async give(record: LeaseRecord): Promise<void> {
    this.keep(record)
  }

  /** As keep(), but a record that cannot be kept counts while this process lives; returns why. */
  learn(record: LeaseRecord): unknown {
    try {
      this.keep(record)
      return undefined
    } catch (error) {
      this.#content = { ...this.#content, record }
      return error
    }
  }

  /** Where the primary was reached. */
  reachedAt(id: string): string | undefined {
    const { reached } = this.#content
    return reached?.id === id ? reached.url : undefined
  }

  /** A disk that cannot keep it stops nobody from following. */
  setReached(id: string, url: string): void {
    if (this.reachedAt(id) === url) return
    const content = { ...this.#content, reached: { id, url } }
    try {
      this.#save(content)
    } catch {
      this.#content = content
    }
  }

  /** The copy of the cluster id. */
  get cluster(): string | undefined {
    return this.#content.cluster
  }

  /** A disk that cannot keep the copy stops nobody. */
  setCluster(cluster: string): void {
    if (this.cluster === cluster) return
    const content = { ...this.#content, cluster }
    try {
      this.#save(content)
    } catch {
      this.#content = content
    }
  }

  /** The epoch of the history that the databases here are on; 0: that before the first record, or it is not known. */
  get historyEpoch(): number {
    return this.#content.history ?? 0
  }

  /** A disk that cannot keep it stops nobody. */
  setHistoryEpoch(epoch: number): void {
    if (epoch <= this.historyEpoch) return
    const content = { ...this.#content, history: epoch }
    try {
      this.#save(content)
    } catch {
      this.#content = content
    }
  }

  setFenced(url: string): void {
    const unfenced = this.#content.unfenced.filter((each) => each !== url)
    this.#save({ ...this.#content, unfenced })
  }

  /**
   * When it throws, the file has the old content, or nobody knows: the file has its new name, but may lose it in a
   * crash. isUnsure is true in that case.
   */
  #save(content: Content): void {
    const bytes = encode(content)
    decode(this.#path, bytes) // unreadable bytes would keep this node from every start
    try {
      this.#files.replace("lease", this.#path, bytes)
    } catch (error) {
      this.#isUnsure = !this.#takeBack(bytes)
      throw error
    }
    this.#content = content
    this.#isUnsure = false
  }

  #takeBack(bytes: Uint8Array): boolean {
    try {
      const found = this.#files.read("lease", this.#path)
      if (found === undefined || Buffer.compare(found, bytes) !== 0) return true
      this.#files.replace("lease", this.#path, encode(this.#content))
      return true
    } catch {
      return false
    }
  }

  /** After a crash this node might find a record that it does not go by now. */
  get isUnsure(): boolean {
    return this.#isUnsure
  }
}

/** Undefined when there is none; throws `damaged` for what is no record. */
export function readLeaseFile(path: string, files = smallFiles): Content | undefined {
  const bytes = files.read("lease", path)
  return bytes && decode(path, bytes)
}

function encode({ id, record, reached, unfenced, cluster, history }: Content): Uint8Array {
  const { epoch, primary } = record ?? {}
  const json = { id, epoch, primary, reached, unfenced, cluster, history }
  return new TextEncoder().encode(`${JSON.stringify(json)}\n`)
}

function decode(path: string, bytes: Uint8Array): Content {
  const damaged = new LitefsError("damaged", `Cannot read "${path}": it is not a lease record`)
  const advice = `take "epoch" and "primary" out of it, here and on every node that has them`
  let found: unknown
  try {
    found = JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    throw damaged
  }
  const { id, epoch, primary, reached, unfenced, cluster, history } = Object(found) as Record<
    string,
    unknown
  >
  const record = epoch === undefined ? undefined : asRecord({ ...(primary as object), epoch })
  if (typeof id !== "string" || !/^[0-9A-F]{16}$/.test(id)) throw damaged
  if (typeof epoch === "number" && epoch > EPOCH_MAX) {
    const problem = `its epoch is ${epoch}, it should be ${EPOCH_MAX} at most`
    throw new LitefsError("damaged", `Cannot read "${path}": ${problem}: ${advice}`)
  }
  if (epoch !== undefined && record === undefined) throw damaged
  return {
    id,
    record,
    reached: asReached(reached),
    unfenced: Array.isArray(unfenced) ? unfenced.filter((each) => typeof each === "string") : [],
    cluster: isClusterId(cluster) ? cluster : undefined,
    history: isEpoch(history) ? history : undefined,
  }
}

/** It only says where to ask first. An unreadable one is ignored. */
function asReached(value: unknown): Reached | undefined {
  const { id, url } = Object(value) as Record<string, unknown>
  return typeof id === "string" && typeof url === "string" && URL.canParse(url)
    ? { id, url }
    : undefined
}
