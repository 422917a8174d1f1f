/** Clients that write on a replica with the write lock of "a.db", borrowed through flock(1). */
import { join } from "node:path"
import { appeared } from "./appeared.ts"
import { type Running, sqlite3, start } from "./client.ts"
import type { Scope, TestNode } from "./node.ts"

export const ONE_ROW = "create table t(x); insert into t values(1)"

/** A command that runs while the node has the write lock of the database. */
export function locked(node: TestNode, ...command: string[]): string[] {
  return ["flock", `${node.mount}/a.db-lock`, ...command]
}

export function shell(node: TestNode, sql: string, timeoutMs = 20_000): string[] {
  return ["sqlite3", "-bail", "-cmd", `.timeout ${timeoutMs}`, `${node.mount}/a.db`, sql]
}

/** A process that has the lock until it is killed. */
export async function holder(scope: Scope, node: TestNode): Promise<Running> {
  const log = join(scope.directory, `holder-${Math.random()}`)
  const hold = 'echo held >> "$0"; exec sleep 60'
  const held = start(["flock", "-F", `${node.mount}/a.db-lock`, "sh", "-c", hold, log], {
    limitMs: 60_000,
  })
  await appeared(log, /held/)
  return held
}

export function values(node: TestNode): string {
  return sqlite3(node, "a.db", "select group_concat(x) from t")
}
