/** A node that may open no more files: what is there goes on. */
import { describe, expect, test } from "bun:test"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, expectSame, run, sqlite3, start } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { canMount, type TestNode } from "../support/node.ts"
import { healthOf } from "../support/node-api.ts"
import { pair } from "../support/pair.ts"

const COMMITS = 10
const NEW_MAX = 60

describe.skipIf(!canMount)("at the limit of descriptors", () => {
  test("writers of the primary write, /health says so, and all is well when there is room", async () => {
    await using scope = await pair()
    const { primary, replica } = scope
    for (const mode of ["wal", "delete"]) {
      sqlite3(primary, `${mode}.db`, `pragma journal_mode = ${mode}; create table t(x)`)
      await caughtUp(primary, replica, `${mode}.db`)
    }
    const clients = ["wal.db", "delete.db"].map((name) => new LongClient(scope, primary, name))
    for (const client of clients) await client.rows("insert into t values('before')")
    const limit = Math.max(...tablesOf(primary).map(firstFree)) + 4
    run(["prlimit", "--pid", String(primary.pid), `--nofile=${limit}:`])

    let opened = 0
    while (opened < NEW_MAX && (await makes(primary, `new-${opened}.db`))) opened += 1
    expect(opened).toBeLessThan(NEW_MAX)
    for (let count = 0; count < COMMITS; count++) {
      for (const client of clients) await client.rows("insert into t values('at the limit')")
    }
    // What the kernel forgets late makes room for one more.
    let { status, health } = await healthOf(primary)
    for (let tries = 0; status === 200 && tries < 20; tries++) {
      await makes(primary, `late-${tries}.db`)
      ;({ status, health } = await healthOf(primary))
    }
    expect(status).toBe(503)
    expect(health.reason).toMatch(/^no more files can be opened, raise the limit/)

    // The write lock is lent, and comes back.
    const path = join(replica.mount, "wal.db")
    const client = ["sqlite3", "-bail", "-cmd", ".timeout 5000", path]
    run(["flock", "-w", "10", `${path}-lock`, ...client, "insert into t values('borrowed')"])
    for (const client of clients) await client.rows("insert into t values('after')")

    run(["prlimit", "--pid", String(primary.pid), "--nofile=20000:"])
    await healthOf(primary)
    for (let tries = 0; (await healthOf(primary)).status !== 200; tries++) {
      if (tries === 50) throw new Error(`it does not recover:\n${primary.output}`)
      await Bun.sleep(100)
    }
    expect(await makes(primary, "more.db")).toBe(true)
    for (const client of clients) await client.close()
    for (const mode of ["wal", "delete"]) await expectSame(primary, replica, `${mode}.db`)
    expect(sqlite3(replica, "delete.db", "select count(*) from t")).toBe(String(COMMITS + 2))
    expect(sqlite3(replica, "wal.db", "select count(*) from t")).toBe(String(COMMITS + 3))
  }, 120_000)
})

async function makes(node: TestNode, database: string): Promise<boolean> {
  const words = ["sqlite3", "-bail", join(node.mount, database), "create table t(x)"]
  return (await start(words).ended).code === 0
}

/** The numbers in use, of each table of the process. */
function tablesOf({ pid }: TestNode): Set<number>[] {
  return readdirSync(`/proc/${pid}/task`).map(
    (task) => new Set(readdirSync(`/proc/${pid}/task/${task}/fd`).map(Number)),
  )
}

function firstFree(table: Set<number>): number {
  for (let fd = 0; ; fd++) if (!table.has(fd)) return fd
}
