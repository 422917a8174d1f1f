import { readFileSync, writeFileSync } from "node:fs"
import { LitefsError } from "../lib/errors.ts"

/**
 * The name of a cluster, "LFSC" and 16 hexadecimal digits, made by its first primary and taken over by every
 * replica: it keeps a node from following the primary of another cluster.
 */
const PATTERN = /^LFSC[0-9A-F]{16}$/

export function makeClusterId(random: () => bigint): string {
  return `LFSC${random().toString(16).toUpperCase().padStart(16, "0")}`
}

export function readClusterId(path: string): string | undefined {
  try {
    const id = readFileSync(path, "utf8").trim()
    if (PATTERN.test(id)) return id
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined
    throw error
  }
  throw new LitefsError("damaged", `Cannot read "${path}": it holds no cluster id`)
}

export function writeClusterId(path: string, id: string): void {
  if (!PATTERN.test(id)) {
    throw new LitefsError("usage", `Cannot use cluster id "${id}": LFSC and 16 hex digits expected`)
  }
  writeFileSync(path, `${id}\n`)
}
