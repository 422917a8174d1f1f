import { LitefsError } from "../../lib/errors.ts"
import { replaceFile } from "../../store/synced.ts"
import { readWhole } from "../../sys/file.ts"

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

export function readClusterId(path: string): string | undefined {
  const bytes = readWhole("cluster-id:read", path)
  if (bytes === undefined) return undefined
  const id = new TextDecoder().decode(bytes).trim()
  if (PATTERN.test(id)) return id
  throw new LitefsError("damaged", `Cannot read "${path}": it holds no cluster id`)
}

export function writeClusterId(path: string, id: string): void {
  if (!PATTERN.test(id)) {
    throw new LitefsError("usage", `Cannot use cluster id "${id}": LFSC and 16 hex digits expected`)
  }
  replaceFile("cluster-id", path, new TextEncoder().encode(`${id}\n`))
}

/** The cluster that this node belongs to, if known. */
export class ClusterId {
  readonly #path: string
  #value: string | undefined

  constructor(path: string) {
    this.#path = path
    this.#value = readClusterId(path)
  }

  /** Undefined on a node that has never been in a cluster. */
  get value(): string | undefined {
    return this.#value
  }

  /** At the first start of a primary. */
  make(random: () => bigint): void {
    if (this.#value === undefined) this.#keep(makeClusterId(random))
  }

  /** A node without an id is no primary: who follows it would learn none, and never be one (handoff-target.ts). */
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
        "if its data was lost, litefs promote --force makes a node the primary that has it",
    )
  }

  #keep(id: string): void {
    writeClusterId(this.#path, id)
    this.#value = id
  }
}
