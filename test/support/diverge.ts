/**
 * Two nodes whose databases have gone apart, as after a failover that lost transactions: each has been a primary
 * by itself after the point up to which they were the same.
 */
import { caughtUp, sqlite3 } from "./client.ts"
import type { Scope, TestNode } from "./node.ts"

export interface DivergeOptions {
  readonly setup: string // SQL that both have
  readonly ours: string // SQL that only the primary has
  readonly theirs: string // SQL that only the replica-to-be has
}

/** Both are stopped afterwards. */
export async function diverge(
  scope: Scope,
  { setup, ours, theirs }: DivergeOptions,
): Promise<{ primary: TestNode; replica: TestNode }> {
  const primary = await scope.node()
  const replica = await scope.node({ follows: primary })
  sqlite3(primary, "a.db", setup)
  await caughtUp(primary, replica, "a.db")
  await replica.stop()
  if (ours !== "") sqlite3(primary, "a.db", ours)
  await primary.stop()
  const alone = await scope.node({ directory: replica.directory, port: replica.port })
  if (theirs !== "") sqlite3(alone, "a.db", theirs)
  await alone.stop()
  return { primary, replica }
}
