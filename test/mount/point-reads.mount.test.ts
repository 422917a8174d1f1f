/** Reading what is in the kernel's cache costs the daemon nothing: it is not even asked. */
import { expect } from "bun:test"
import { caughtUp, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { flagsOf, Scope, SEEN_LOCKS, type TestNode } from "../support/node.ts"

const READS = 1000

const SETUP = `create table t(id integer primary key, x);
  insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)
  select i, 'row ' || i from n;`

/** Requests of the kernel while the client reads, one autocommit point read after the other. */
async function requestsOfReads(node: TestNode, client: LongClient): Promise<string[]> {
  const mark = (name: string) =>
    `process.getBuiltinModule("fs").existsSync("${node.mount}/${name}")`
  const read = `
    const get = db.prepare("select x from t where id = ?")
    for (let n = 0; n < ${READS}; n++) {
      const id = 1 + n * 7919 % 2000
      if (get.get(id).x !== "row " + id) throw new Error("wrong row")
    }
  `
  await client.run(read)
  await client.run(`${mark("begin")}; ${read}; ${mark("end")}`)
  await node.logged(/LOOKUP n1 "?\\?"end/)
  const requests = node.output.split("\n").filter((line) => / msg="rx /.test(line))
  const begin = requests.findIndex((line) => /LOOKUP n1 "?\\?"begin/.test(line))
  const end = requests.findIndex((line) => /LOOKUP n1 "?\\?"end/.test(line))
  expect(begin).toBeGreaterThan(0)
  return requests.slice(begin + 1, end)
}

test.each(["delete", "truncate", "wal"])(
  "%p mode: 1,000 point reads of a warm database cause no request on the primary",
  async (mode) => {
    await using scope = new Scope()
    const primary = await scope.node({ flags: ["--fuse-debug", "--log-level", "debug"] })
    const client = new LongClient(scope, primary, "a.db")
    await client.exec(`pragma journal_mode = ${mode}; ${SETUP}`)
    expect(await requestsOfReads(primary, client)).toEqual([])
  },
  30_000,
)

test("PERSIST mode: point reads ask for the journal only, whose header SQLite looks at for each of them", async () => {
  await using scope = new Scope()
  const primary = await scope.node({ flags: ["--fuse-debug", "--log-level", "debug"] })
  const client = new LongClient(scope, primary, "a.db")
  await client.exec(`pragma journal_mode = persist; ${SETUP}`)
  const requests = await requestsOfReads(primary, client)
  const words = requests.map((line) => / (\w+) (n\d+) /.exec(line)?.slice(1) ?? [])
  const journal = words[0]?.[1]
  expect(words.filter(([name]) => name === "OPEN")).toHaveLength(READS)
  expect(words.every(([name, node]) => name !== "READ" && node === journal)).toBeTrue()
}, 30_000)

test.each(["delete", "wal"])(
  "%p mode: 1,000 point reads of a warm database cause no request on the replica",
  async (mode) => {
    await using scope = new Scope()
    const primary = await scope.node()
    const replica = await scope.node({
      follows: primary,
      flags: ["--fuse-debug", "--log-level", "debug"],
    })
    sqlite3(primary, "a.db", `pragma journal_mode = ${mode}; ${SETUP}`)
    await caughtUp(primary, replica, "a.db")
    const client = new LongClient(scope, replica, "a.db")
    expect(await requestsOfReads(replica, client)).toEqual([])
  },
  30_000,
)

test.each([
  // PENDING, SHARED, and both given up again.
  ["delete", 4],
  // A read mark, and back.
  ["wal", 2],
])(
  `%p mode${SEEN_LOCKS}: a point read of a warm database costs %d requests, for its locks`,
  async (mode, count) => {
    await using scope = new Scope()
    const flags = [...flagsOf(SEEN_LOCKS), "--fuse-debug", "--log-level", "debug"]
    const primary = await scope.node({ flags })
    const client = new LongClient(scope, primary, "a.db")
    await client.exec(`pragma journal_mode = ${mode}; ${SETUP}`)
    const requests = await requestsOfReads(primary, client)
    expect(requests.filter((line) => !/ SETLK /.test(line))).toEqual([])
    expect(requests.length / READS).toBe(count)
  },
  30_000,
)
