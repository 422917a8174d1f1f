import { LitefsError } from "../lib/errors.ts"
import { replaceFile } from "../store/synced.ts"
import { readWhole } from "../sys/file.ts"

/**
 * The name of a cluster, "LFSC" and 16 hexadecimal digits, made by its first primary and taken over by every
 * replica: it keeps a node from following the primary of another cluster.
 */
const PATTERN = /^LFSC[0-9A-F]{16}$/

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
