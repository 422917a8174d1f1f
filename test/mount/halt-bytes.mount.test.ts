/** The halt lock as programs of the original take it: fcntl(2), a write lock of byte 72 of `<db>-lock`. */
import { expect } from "bun:test"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, expectSame, failureOf, pos, sqlite3 } from "../support/client.ts"
import { LockClient } from "../support/lock-client.ts"
import { test } from "../support/mount-test.ts"
import { flagsOf, Scope, SEEN_LOCKS, type TestNode } from "../support/node.ts"

const HALT = [72, 1] as const

async function pair(scope: Scope, how: string) {
  const primary = await scope.node({ flags: flagsOf(how) })
  const replica = await scope.node({ follows: primary, flags: flagsOf(how) })
  sqlite3(primary, "a.db", "pragma journal_mode = wal; create table t(x)")
  await caughtUp(primary, replica, "a.db")
  return { primary, replica }
}

function halt(client: LockClient, owner: "ofd" | "posix" = "ofd") {
  return client.lock(owner, "wait", "exclusive", ...HALT)
}

function tryInsert(node: TestNode, value: number): string {
  const sql = `insert into t values(${value})`
  return failureOf(["sqlite3", "-cmd", ".timeout 200", `${node.mount}/a.db`, sql])
}

for (const how of ["", SEEN_LOCKS]) {
  test.each(["ofd", "posix"] as const)(
    `the halt lock of a replica${how}: while %s has it, it writes and the primary's clients do not`,
    async (owner) => {
      await using scope = new Scope()
      const { primary, replica } = await pair(scope, how)
      const client = new LockClient(scope, `${replica.mount}/a.db-lock`)
      expect(await halt(client, owner)).toBe("ok")
      sqlite3(replica, "a.db", "insert into t values(1)")
      expect(tryInsert(primary, 0)).toContain("locked")
      sqlite3(replica, "a.db", "insert into t values(2)")
      expect(await client.lock(owner, "set", "unlock", ...HALT)).toBe("ok")
      sqlite3(primary, "a.db", "insert into t values(3)")
      expect(await halt(client, owner)).toBe("ok")
      expect(tryInsert(primary, 0)).toContain("locked")
      await client.kill()
      sqlite3(primary, "a.db", "insert into t values(4)")
      expect(sqlite3(primary, "a.db", "select group_concat(x) from t")).toBe("1,2,3,4")
      await expectSame(primary, replica, "a.db")
    },
    60_000,
  )

  test(`the halt lock${how}: one client after the other has it, on the primary too`, async () => {
    await using scope = new Scope()
    const { primary, replica } = await pair(scope, how)
    const [first, second] = [0, 1].map(() => new LockClient(scope, `${replica.mount}/a.db-lock`))
    const there = new LockClient(scope, `${primary.mount}/a.db-lock`)
    if (first === undefined || second === undefined) throw new Error("no clients")
    expect(await halt(first)).toBe("ok")
    let isSecond = false
    const waiting = halt(second).then((answer) => {
      isSecond = true
      return answer
    })
    await Bun.sleep(300)
    expect(isSecond).toBe(false)
    await first.lock("ofd", "set", "unlock", ...HALT)
    expect(await waiting).toBe("ok")
    const far = halt(there)
    await second.lock("ofd", "set", "unlock", ...HALT)
    expect(await far).toBe("ok")
    const asked = await fetch(`${primary.url}/halt?name=a.db&id=5&wait=0`, { method: "POST" })
    expect(asked.status).toBe(409)
    await there.kill()
    const again = await fetch(`${primary.url}/halt?name=a.db&id=5`, { method: "POST" })
    expect(again.status).toBe(200)
  }, 60_000)
}

test("who does not wait for the halt lock is refused it", async () => {
  await using scope = new Scope()
  const { primary, replica } = await pair(scope, "")
  for (const node of [primary, replica]) {
    const client = new LockClient(scope, `${node.mount}/a.db-lock`)
    for (const owner of ["ofd", "posix"] as const) {
      expect(await client.lock(owner, "set", "exclusive", ...HALT)).toBe("EAGAIN")
      expect(await client.lock(owner, "set", "exclusive", 0, 0)).toBe("EAGAIN")
    }
    await client.kill()
  }
  sqlite3(primary, "a.db", "insert into t values(1)")
  await expectSame(primary, replica, "a.db")
}, 60_000)

test("the halt lock is not granted while there is no primary, and is when there is one again", async () => {
  await using scope = new Scope()
  const { primary, replica } = await pair(scope, "")
  await primary.stop()
  const client = new LockClient(scope, `${replica.mount}/a.db-lock`)
  let answer: unknown
  const waiting = halt(client).then((given) => {
    answer = given
  })
  await replica.logged(/cannot borrow the write lock of the primary/)
  await Bun.sleep(1500)
  expect(answer).toBeUndefined()
  const again = await scope.again(primary)
  await waiting
  expect(answer).toBe("ok")
  sqlite3(replica, "a.db", "insert into t values(1)")
  await client.kill()
  sqlite3(again, "a.db", "insert into t values(2)")
  await expectSame(again, replica, "a.db")
}, 60_000)

test("POST /halt of a database that does not exist makes it, and its holder commits the first transaction", async () => {
  await using scope = new Scope()
  const { primary, replica } = await pair(scope, "")
  // Elsewhere, a database with one transaction.
  const other = await scope.node()
  sqlite3(other, "new.db", "create table t(x)")
  const ltx = join(other.data, "dbs/new.db/ltx")
  const [file] = readdirSync(ltx)
  const url = `${primary.url}/halt?name=new.db&id=9`
  const lent = await fetch(url, { method: "POST" })
  expect(lent.status).toBe(200)
  expect(await lent.json()).toEqual({
    id: 9,
    pos: { TXID: "0000000000000000", PostApplyChecksum: "0000000000000000" },
    expires: expect.any(String),
  })
  const tx = `${primary.url}/tx?name=new.db&lockID=9`
  const body = readFileSync(join(ltx, file as string))
  const sent = await fetch(tx, { method: "POST", body })
  expect([sent.status, await sent.text()]).toEqual([200, ""])
  const second = await fetch(tx, { method: "POST", body: Buffer.concat([body.subarray(0, 99)]) })
  expect(second.status).toBe(400)
  expect((await fetch(url, { method: "DELETE" })).status).toBe(200)
  expect(pos(primary, "new.db")).toBe(pos(other, "new.db"))
  sqlite3(primary, "new.db", "insert into t values(1)")
  await expectSame(primary, replica, "new.db")

  const unused = `${primary.url}/halt?name=unused.db&id=9`
  expect((await fetch(unused, { method: "POST" })).status).toBe(200)
  expect((await fetch(unused, { method: "DELETE" })).status).toBe(200)
  sqlite3(primary, "unused.db", "create table t(x)")
  await expectSame(primary, replica, "unused.db")
}, 60_000)
