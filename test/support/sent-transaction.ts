import type { SentTransaction } from "../../src/cluster/locks/sent-transaction.ts"

/** A transaction as it has come from another node. */
export function sent(bytes: Uint8Array): SentTransaction {
  const [start, end] = [bytes.slice(0, 100), bytes.slice(-16)]
  return { size: bytes.length, start, end, parts: () => [bytes] }
}
