/** A node that stops, or is killed, while it sends snapshots leaves nothing of them behind. */
import { expect } from "bun:test"
import { spawn } from "node:child_process"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, run, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"

/** A request for the database that has begun, and takes long. */
async function beginExport(scope: Scope, { url }: TestNode): Promise<void> {
  const client = spawn("curl", ["-sN", "--limit-rate", "20k", `${url}/export?name=a.db`])
  scope.defer(() => void client.kill("SIGKILL"))
  await new Promise((resolve) => client.stdout.once("data", resolve))
}

function snapshotsOf({ data }: TestNode): string[] {
  return readdirSync(join(data, "dbs", "a.db")).filter((name) => name.startsWith("snapshot-"))
}

test.each(["SIGTERM", "SIGKILL"] as const)(
  "%s in the middle of exports leaves nothing that the doctor finds",
  async (signal) => {
    await using scope = new Scope()
    const primary = await scope.node()
    const replica = await scope.node({ follows: primary })
    sqlite3(
      primary,
      "a.db",
      "pragma journal_mode=wal; create table t(x); with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) insert into t select randomblob(1000) from n",
    )
    await caughtUp(primary, replica, "a.db")
    for (const node of [replica, primary]) await beginExport(scope, node)
    sqlite3(primary, "a.db", "update t set x = zeroblob(500)") // the old pages are kept for both
    await caughtUp(primary, replica, "a.db")
    for (const node of [replica, primary]) {
      await node.stop(signal)
      expect(snapshotsOf(node)).toEqual([])
      if (signal === "SIGTERM") {
        expect(run([...PROGRAM, "doctor", "--data-dir", node.data])).toContain(": healthy")
      }
    }
  },
  60_000,
)
