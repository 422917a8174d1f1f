/**
 * `--capture behind` on nodes whose role changes: the table of src/mount/files/passed-entry.ts, as clients see it. The
 * node that has the clients is `here`, the other one takes its role.
 */
import { expect } from "bun:test"
import { join } from "node:path"
import { caughtUp, expectSame, failureOf, run, sqlite3, sqlite3Command } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { passingTest as test } from "../support/mount-test.ts"
import { PROGRAM, type TestNode } from "../support/node.ts"
import { becomes, infoOf, metricOf } from "../support/node-api.ts"
import { type Pair, pair } from "../support/pair.ts"
import { until } from "../support/until.ts"
import { promote } from "../torture/handoffs.ts"

const LIMIT_MS = 60_000
const FLAGS = ["--capture", "behind", "--candidate"]
const FULL = "pragma synchronous = full"
const NORMAL = "pragma synchronous = normal"

const LOCKED = "database is locked"
const READONLY = "attempt to write a readonly database"

class Roles implements AsyncDisposable {
  readonly #pair: Pair

  static async start(): Promise<Roles> {
    return new Roles(await pair({ flags: FLAGS, mode: "wal", sql: "create table a(x)" }))
  }

  private constructor(given: Pair) {
    this.#pair = given
  }

  get here(): TestNode {
    return this.#pair.primary
  }

  get there(): TestNode {
    return this.#pair.replica
  }

  get scope(): Pair {
    return this.#pair
  }

  async client(setup = NORMAL, node = this.here): Promise<LongClient> {
    const client = new LongClient(this.#pair, node, "a.db")
    await client.exec(`pragma busy_timeout = 100; ${setup}`)
    return client
  }

  /** A client that passes, and has written a row: "1". */
  async writer(): Promise<LongClient> {
    const client = await this.client()
    expect(await insert(client, "1")).toBe("ok")
    return client
  }

  /** Both have the same, which is these rows. */
  async expectBoth(rows: string): Promise<void> {
    const { here, there } = this
    const isPrimary = (await infoOf(here)).role === "primary"
    await (isPrimary ? expectSame(here, there, "a.db") : expectSame(there, here, "a.db"))
    for (const node of [here, there]) {
      expect(sqlite3(node, "a.db", "select group_concat(x, ' ') from a")).toBe(rows)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pair[Symbol.asyncDispose]()
  }
}

/** What a client sees of it: "ok", or what SQLite says. */
async function seen(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return "ok"
  } catch (error) {
    return (error as Error).message
  }
}

const insert = (client: LongClient, word: string) =>
  seen(client.exec(`insert into a values('${word}')`))

/** Whether a commit of the client reaches LiteFS as a request. */
async function isSeenByLitefs(node: TestNode, commit: () => Promise<string>): Promise<boolean> {
  const count = () => metricOf(node, 'litefs_db_wal_write_count{db="a.db"}')
  const before = await count()
  expect(await commit()).toBe("ok")
  return (await count()) > before
}

function litefs(...args: readonly string[]): string {
  return run([...PROGRAM, ...args])
}

/** The rows of each history that the node has kept. */
function kept(scope: Pair, node: TestNode): string[] {
  const { histories } = JSON.parse(
    litefs("diverged", "list", "--json", "--data-dir", node.data),
  ) as { readonly histories: readonly { readonly name: string }[] }
  return histories.map(({ name }, index) => {
    const path = join(scope.directory, `kept-${index}.db`)
    litefs("diverged", "export", "--data-dir", node.data, name, path)
    return run(["sqlite3", path, "select group_concat(x, ' ') from a"]).trim()
  })
}

// ----------------------------------------------------------------------------------------------------------- handoffs

test(
  "a handoff under a connection that passes: it reads on, is locked out of writing, and writes when the role is back",
  async () => {
    await using roles = await Roles.start()
    const { here, there } = roles
    const old = await roles.client()
    expect(await isSeenByLitefs(here, () => insert(old, "1"))).toBe(false)
    await promote(there)
    sqlite3(there, "a.db", "insert into a values('2')")
    await caughtUp(there, here, "a.db")
    expect(await old.rows("select x from a")).toEqual([["1"], ["2"]])
    expect(await insert(old, "no")).toBe(LOCKED)
    expect(await seen(old.exec("begin; select * from a; insert into a values('no')"))).toBe(LOCKED)
    await old.exec("rollback")
    expect(await old.rows("pragma wal_checkpoint(truncate)")).toEqual([[1, -1, -1]])
    await promote(here)
    expect(await isSeenByLitefs(here, () => insert(old, "3"))).toBe(false)
    await roles.expectBoth("1 2 3")
  },
  LIMIT_MS,
)

test(
  "who opens the WAL of a replica while others have it past LiteFS reads; who comes after them has it as on any replica",
  async () => {
    await using roles = await Roles.start()
    const { here, there } = roles
    const old = await roles.writer()
    await promote(there)
    const young = await roles.client()
    expect(await insert(young, "no")).toBe(READONLY)
    sqlite3(there, "a.db", "insert into a values('2')")
    await caughtUp(there, here, "a.db")
    expect(await young.rows("select x from a")).toEqual([["1"], ["2"]])
    await old.close()
    await young.close()
    sqlite3(there, "a.db", "insert into a values('3')")
    await caughtUp(there, here, "a.db")
    // Through the cache of the kernel, in which nothing of the time before may be.
    const cached = await roles.client()
    expect(await cached.rows("select x from a")).toEqual([["1"], ["2"], ["3"]])
    expect(await insert(cached, "no")).not.toMatch(/^(ok|database is locked)$/)
    await promote(here)
    expect(await isSeenByLitefs(here, () => insert(cached, "4"))).toBe(true)
    await cached.close()
    const passing = await roles.client()
    expect(await isSeenByLitefs(here, () => insert(passing, "5"))).toBe(false)
    await roles.expectBoth("1 2 3 4 5")
  },
  LIMIT_MS,
)

test(
  "a handoff under a read transaction leaves it its snapshot, and does not let it write on it",
  async () => {
    await using roles = await Roles.start()
    const { here, there } = roles
    const old = await roles.writer()
    await old.exec("begin; select * from a")
    await promote(there)
    sqlite3(there, "a.db", "insert into a values('2')")
    await caughtUp(there, here, "a.db")
    expect(await old.rows("select x from a")).toEqual([["1"]])
    await promote(here)
    expect(await insert(old, "no")).toBe(LOCKED) // SQLITE_BUSY_SNAPSHOT
    await old.exec("commit")
    expect(await insert(old, "3")).toBe("ok")
    await roles.expectBoth("1 2 3")
  },
  LIMIT_MS,
)

test.each([
  ["has begun", "begin immediate"],
  ["has written", "begin immediate; insert into a values('2')"],
  [
    "has spilled",
    "pragma cache_size = 2; begin immediate; insert into a values('2'); create table b(x); insert into b select randomblob(3000) from json_each('[' || rtrim(replace(hex(zeroblob(100)), '00', '1,'), ',') || ']')",
  ],
])(
  "a handoff is refused while a client %s, and its transaction counts",
  async (_, sql) => {
    await using roles = await Roles.start()
    const { there } = roles
    const old = await roles.writer()
    await old.exec(sql)
    await expect(promote(there)).rejects.toThrow(/a client has been in a write transaction for 5s/)
    if (!sql.includes("values")) await insert(old, "2")
    await old.exec("commit")
    await promote(there)
    await roles.expectBoth("1 2")
  },
  LIMIT_MS,
)

test(
  "a handoff is refused while a client has for itself what it has open past LiteFS",
  async () => {
    await using roles = await Roles.start()
    const { there } = roles
    const old = await roles.writer()
    await old.exec("pragma locking_mode = exclusive; insert into a values('2')")
    await expect(promote(there)).rejects.toThrow(/a client has been in a write transaction for 5s/)
    expect(await insert(old, "3")).toBe("ok")
    await old.exec("pragma locking_mode = normal; select * from a")
    await promote(there)
    expect(await insert(old, "no")).toBe(LOCKED)
    await roles.expectBoth("1 2 3")
  },
  LIMIT_MS,
)

test(
  "a primary that stops hands over what clients have written past it, and comes back as a replica",
  async () => {
    await using roles = await Roles.start()
    const { here, there, scope } = roles
    const old = await roles.client()
    for (let n = 1; n <= 5; n++) await insert(old, String(n))
    const stopped = here.stop()
    await becomes(there, "primary")
    await old.close()
    await stopped
    expect(sqlite3(there, "a.db", "select group_concat(x, ' ') from a")).toBe("1 2 3 4 5")
    const again = await scope.again(here, { follows: there, flags: FLAGS })
    sqlite3(there, "a.db", "insert into a values('6')")
    await expectSame(there, again, "a.db")
    expect(kept(scope, again)).toEqual([])
    await promote(again)
    expect(sqlite3(again, "a.db", "insert into a values('7') returning x")).toBe("7")
  },
  LIMIT_MS,
)

test.each(["normal", "full"])(
  "a %s client that outlives a primary that has handed its role over commits nothing there",
  async (synchronous) => {
    await using roles = await Roles.start()
    const { here, there, scope } = roles
    const old = await roles.client(`pragma synchronous = ${synchronous}`)
    await insert(old, "1")
    expect(await here.stop()).toEqual({ code: 0, signal: null })
    await becomes(there, "primary")
    expect(await insert(old, "no")).toBe("unable to open database file")
    sqlite3(there, "a.db", "insert into a values('2')")
    const again = await scope.again(here, { follows: there, flags: FLAGS })
    await caughtUp(there, again, "a.db")
    expect(await insert(old, "no")).not.toBe("ok")
    await old.close()
    expect(sqlite3(again, "a.db", "select group_concat(x, ' ') from a")).toBe("1 2")
    expect(kept(scope, again)).toEqual([])
    await promote(again)
    expect(sqlite3(again, "a.db", "insert into a values('3') returning x")).toBe("3")
    await caughtUp(again, there, "a.db")
  },
  LIMIT_MS,
)

// ------------------------------------------------------------------------------------------------------- forced roles

test(
  "a role taken by force under an idle connection that passes: it goes on with what the new primary has",
  async () => {
    await using roles = await Roles.start()
    const { here, there, scope } = roles
    const old = await roles.writer()
    await caughtUp(here, there, "a.db")
    await promote(there, "?force=true")
    await becomes(here, "replica")
    sqlite3(there, "a.db", "insert into a values('2')")
    await caughtUp(there, here, "a.db")
    expect(await old.rows("select x from a")).toEqual([["1"], ["2"]])
    expect(await insert(old, "no")).toBe(LOCKED)
    await roles.expectBoth("1 2")
    expect(kept(scope, here)).toEqual([])
    await promote(here)
    expect(await insert(old, "3")).toBe("ok")
    await roles.expectBoth("1 2 3")
  },
  LIMIT_MS,
)

test.each(["begin immediate", "begin immediate; insert into a values('lost')"])(
  "a role taken by force from a NORMAL writer after %p: what it still commits is kept as diverged",
  async (sql) => {
    await using roles = await Roles.start()
    const { here, there, scope } = roles
    const old = await roles.client(NORMAL)
    await insert(old, "1")
    await caughtUp(here, there, "a.db")
    await old.exec(sql)
    await promote(there, "?force=true")
    await here.logged(/cannot step down while clients write past LiteFS/)
    expect(sqlite3(here, "a.db", "select group_concat(x, ' ') from a")).toBe("1")
    sqlite3(there, "a.db", "insert into a values('2')")
    if (!sql.includes("lost")) await insert(old, "lost")
    expect(await seen(old.exec("commit"))).toBe("ok")
    await becomes(here, "replica")
    await here.logged(/has diverged from the primary's/)
    await caughtUp(there, here, "a.db")
    expect(await old.rows("select x from a")).toEqual([["1"], ["2"]])
    expect(await insert(old, "no")).toBe(LOCKED)
    await roles.expectBoth("1 2")
    expect(kept(scope, here)).toEqual(["1 lost"])
    await promote(here)
    expect(await insert(old, "3")).toBe("ok")
    await roles.expectBoth("1 2 3")
  },
  LIMIT_MS,
)

test(
  "a role taken by force from a FULL writer in a transaction: its commit is refused, and nobody ever sees it",
  async () => {
    await using roles = await Roles.start()
    const { here, there, scope } = roles
    const old = await roles.client(FULL)
    await insert(old, "1")
    await caughtUp(here, there, "a.db")
    await old.exec("begin immediate; insert into a values('refused')")
    await promote(there, "?force=true")
    await here.logged(/another node has become the primary/)
    expect(await seen(old.exec("commit"))).toMatch(/disk I\/O error|readonly/)
    await becomes(here, "replica")
    await caughtUp(there, here, "a.db")
    expect(await old.rows("select x from a")).toEqual([["1"]])
    // The last to close it, and the next to open it: whoever builds the index anew finds no more in the WAL.
    await old.close()
    expect(sqlite3(here, "a.db", "select group_concat(x, ' ') from a")).toBe("1")
    sqlite3(there, "a.db", "insert into a values('2')")
    await roles.expectBoth("1 2")
    expect(kept(scope, here)).toEqual([])
    await here.stop()
    const again = await scope.again(here, { follows: there, flags: FLAGS })
    await expectSame(there, again, "a.db")
    expect(kept(scope, again)).toEqual([])
  },
  LIMIT_MS,
)

test(
  "a role taken by force from a client that has its database for itself: it is waited for, and its rows are kept",
  async () => {
    await using roles = await Roles.start()
    const { here, there, scope } = roles
    const old = await roles.client(NORMAL)
    await insert(old, "1")
    await caughtUp(here, there, "a.db")
    await old.exec("pragma locking_mode = exclusive; begin immediate; commit")
    await promote(there, "?force=true")
    await here.logged(/cannot step down while clients write past LiteFS/)
    expect(await insert(old, "lost")).toBe("ok")
    await old.close("SIGKILL")
    await becomes(here, "replica")
    sqlite3(there, "a.db", "insert into a values('2')")
    await roles.expectBoth("1 2")
    expect(kept(scope, here)).toEqual(["1 lost"])
  },
  LIMIT_MS,
)

test(
  "a snapshot takes the place of a diverged database under connections that pass, and waits for their readers",
  async () => {
    await using roles = await Roles.start()
    const { here, there, scope } = roles
    const [writer, reader] = [await roles.client(), await roles.client()]
    await insert(writer, "1")
    await caughtUp(here, there, "a.db")
    await reader.exec("begin; select * from a")
    await writer.exec("begin immediate; insert into a values('lost')")
    await promote(there, "?force=true")
    await here.logged(/another node has become the primary/)
    await writer.exec("commit")
    await becomes(here, "replica")
    sqlite3(there, "a.db", "insert into a values('2')")
    await here.logged(/waiting for readers to take a snapshot over/)
    expect(await reader.rows("select x from a")).toEqual([["1"]])
    expect(await insert(writer, "no")).toBe(LOCKED)
    await reader.exec("commit")
    await caughtUp(there, here, "a.db")
    for (const client of [writer, reader]) {
      expect(await client.rows("select x from a")).toEqual([["1"], ["2"]])
      expect(await insert(client, "no")).toBe(LOCKED)
    }
    expect(kept(scope, here)).toEqual(["1 lost"])
    await promote(here)
    for (const client of [writer, reader]) expect(await insert(client, "3")).toBe("ok")
    await roles.expectBoth("1 2 3 3")
  },
  LIMIT_MS,
)

test(
  "a replica that is killed while clients have its WAL past it keeps what they write until the next start",
  async () => {
    await using roles = await Roles.start()
    const { here, there, scope } = roles
    const old = await roles.writer()
    await promote(there)
    sqlite3(there, "a.db", "insert into a values('2')")
    await caughtUp(there, here, "a.db")
    expect(await insert(old, "no")).toBe(LOCKED)
    await here.stop("SIGKILL")
    expect(await insert(old, "lost")).toBe("ok")
    const again = await scope.again(here, { follows: there, flags: FLAGS })
    expect(await insert(old, "late")).not.toBe("ok")
    sqlite3(there, "a.db", "insert into a values('3')")
    await expectSame(there, again, "a.db")
    expect(kept(scope, again)).toEqual(["1 2 lost"])
    await promote(again)
    expect(sqlite3(again, "a.db", "select group_concat(x, ' ') from a")).toBe("1 2 3")
  },
  LIMIT_MS,
)

test(
  "a client of a replica does not get the database for itself while it has the WAL past LiteFS",
  async () => {
    await using roles = await Roles.start()
    const { here, there, scope } = roles
    const old = await roles.writer()
    await caughtUp(here, there, "a.db")
    await old.exec("begin immediate; insert into a values('lost')")
    await promote(there, "?force=true")
    await here.logged(/another node has become the primary/)
    await old.exec("commit")
    await becomes(here, "replica")
    await here.logged(/has diverged from the primary's/)
    // After a snapshot, before anything is applied.
    const alone = "pragma locking_mode = exclusive; insert into a values('no')"
    expect(await seen(old.exec(alone))).toBe(LOCKED)
    await old.exec("pragma locking_mode = normal")
    await roles.expectBoth("1")
    expect(kept(scope, here)).toEqual(["1 lost"])
  },
  LIMIT_MS,
)

// ------------------------------------------------------------------------------------------ what else is done meanwhile

test(
  "on a replica whose WAL clients have past LiteFS nobody borrows, and nobody takes the files away",
  async () => {
    await using roles = await Roles.start()
    const { here, there } = roles
    const old = await roles.writer()
    await promote(there)
    const add = sqlite3Command(here, "a.db")
      .map((word) => `'${word}'`)
      .join(" ")
    const borrow = [
      "flock",
      `${here.mount}/a.db-lock`,
      "sh",
      "-c",
      `${add} "insert into a values('2')"`,
    ]
    expect(failureOf(borrow)).toMatch(/No locks available/)
    await here.logged(/clients have it open past LiteFS/)
    for (const suffix of ["-wal", "-shm"]) {
      expect(failureOf(["rm", join(here.mount, `a.db${suffix}`)])).toMatch(/busy/)
    }
    await old.close()
    const isBorrowed = () => {
      try {
        run(borrow)
        return true
      } catch {
        return false
      }
    }
    await until("the lock is borrowed", isBorrowed)
    await roles.expectBoth("1 2")
  },
  LIMIT_MS,
)

test(
  "a node that follows one whose WAL clients have past LiteFS gets all of it, before and after the role goes",
  async () => {
    await using roles = await Roles.start()
    const { here, there, scope } = roles
    const old = await roles.client()
    for (let n = 1; n <= 20; n++) await insert(old, String(n))
    const third = await scope.node({ follows: here })
    await expectSame(here, third, "a.db")
    await promote(there)
    sqlite3(there, "a.db", "insert into a values('more')")
    for (const node of [here, third]) await expectSame(there, node, "a.db")
    await promote(here)
    await insert(old, "most")
    for (const node of [there, third]) await expectSame(here, node, "a.db")
  },
  LIMIT_MS,
)

test(
  "a node that is started to be promoted captures behind its writers then",
  async () => {
    await using roles = await Roles.start()
    const { here, there, scope } = roles
    const old = await roles.writer()
    await there.stop()
    const again = await scope.again(there, {
      follows: here,
      flags: ["--capture", "behind", "--promote"],
    })
    await becomes(again, "primary")
    const client = await roles.client(NORMAL, again)
    expect(await isSeenByLitefs(again, () => insert(client, "2"))).toBe(false)
    await expectSame(again, here, "a.db")
    expect(await old.rows("select x from a")).toEqual([["1"], ["2"]])
  },
  LIMIT_MS,
)

test(
  "a connection in a rollback mode is as without it",
  async () => {
    await using scope = await pair({ flags: FLAGS, mode: "delete", sql: "create table a(x)" })
    const { primary, replica } = scope
    const old = new LongClient(scope, primary, "a.db")
    await old.exec("pragma busy_timeout = 100; begin immediate; insert into a values('undone')")
    await promote(replica, "?force=true")
    await becomes(primary, "replica")
    expect(await seen(old.exec("commit"))).not.toBe("ok")
    sqlite3(replica, "a.db", "insert into a values('1')")
    await expectSame(replica, primary, "a.db")
    expect(await old.rows("select x from a")).toEqual([["1"]])
    await promote(primary)
    expect(await insert(old, "2")).toBe("ok")
    await expectSame(primary, replica, "a.db")
  },
  LIMIT_MS,
)
