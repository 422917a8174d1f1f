/**
 * What the torture must never miss, planted under its own checks: rows that were acknowledged and are lost, doubled,
 * changed or in another order, half a transaction, a replica of an older state, a log with a hole. The databases here
 * are SQLite's own, on a plain directory, where nothing is lost but what the test takes; so each check first finds
 * nothing. No node has a part in it: nothing that breaks on purpose is in the program.
 */
import { Database } from "bun:sqlite"
import { describe, expect, test } from "bun:test"
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { imageChecksum } from "../support/captured-database.ts"
import { expectSame, run, start } from "../support/client.ts"
import {
  type DatabaseFixture,
  DataDirectory,
  FIXTURE_PAGE_SIZE,
} from "../support/data-directory.ts"
import type { TestNode } from "../support/node.ts"
import { type Site, writeThenRead } from "../support/proxied-site.ts"
import { Random } from "../support/random.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"
import { until } from "../support/until.ts"
import { checkingReader, ROWS, SCHEMA as WHOLE_ROWS } from "../support/whole-rows.ts"
import { checkSteps } from "./fault-sweep.ts"
import { checkLog } from "./halt.ts"
import { checkOnce, checkThere, SCHEMA as HANDOFF_SCHEMA } from "./handoffs.ts"
import { difference, readContent, replayHistory } from "./history-check.ts"
import { filling } from "./large-kill.ts"
import { schemaSql } from "./model.ts"
import type { Pair } from "./pair.ts"
import { checkRecovery } from "./power-cut.ts"
import { DIGEST, expectSeen } from "./roles.ts"
import { DATABASE, Round } from "./round.ts"
import { expectContent } from "./upkeep-faults.ts"

/** A directory in the place of a node's mount and of its data. */
class PlainNode {
  readonly mount: string
  readonly data: string
  readonly output = ""

  constructor(root: TemporaryDirectory, name: string) {
    this.mount = join(root.path, name, "mnt")
    this.data = join(root.path, name, "data")
    mkdirSync(this.mount, { recursive: true })
    mkdirSync(this.data)
  }

  get asNode(): TestNode {
    return this as unknown as TestNode
  }

  change(database: string, sql: string): void {
    using file = new Database(join(this.mount, database))
    file.run(sql)
  }
}

describe("client, daemon, links, shrink: what the writers were told", () => {
  const DAMAGE = {
    "a transaction that is lost": ["delete from tx where n = $n", "is missing|numbers have gaps"],
    "the last transaction, lost without a gap": [
      "delete from tx where n >= $last; delete from part where n >= $last",
      "LOST: transaction \\d+ of writer 1 is missing",
    ],
    "a transaction that is another writer's": ["update tx set writer = 9 where n = $n", "is by 9"],
    "half a transaction": ["delete from part where n = $n and k = 1", "parts"],
    "a part that is older": ["update part set body = 'old' where n = $n", "wrong body"],
    "a transaction applied twice": [
      "update account set version = version + 1 where id = 3",
      "versions sum to",
    ],
    "money from nowhere": ["update account set balance = 1 where id = 3", "balances sum to"],
  } as const

  test.each(["delete", "wal"] as const)("%s mode", async (mode) => {
    using root = new TemporaryDirectory()
    const [primary, replica] = [new PlainNode(root, "primary"), new PlainNode(root, "replica")]
    const pair = { primary, replica, directory: root.path } as unknown as Pair
    const round = new Round(pair, new Random(1), mode)
    await round.setUp()
    const writer = round.startWriter()
    const told = () => writer.client.lines.filter((line) => line.startsWith("ack ")).length
    await until("20 are told", () => told() >= 20)
    await writer.client.kill()
    round.collect(writer)
    expect(round.acknowledgedCount).toBeGreaterThanOrEqual(20)
    await round.checkContent(primary.asNode)
    primary.change(DATABASE, "pragma wal_checkpoint(truncate)")

    for (const [what, [sql, problem]] of Object.entries(DAMAGE)) {
      copyFileSync(join(primary.mount, DATABASE), join(replica.mount, DATABASE))
      const last = round.acknowledgedCount
      replica.change(DATABASE, sql.replaceAll("$last", `${last}`).replace("$n", `${last - 2}`))
      const checked = round.checkContent(replica.asNode)
      await expect(checked, what).rejects.toThrow(new RegExp(problem))
    }
    // Whoever is told a number that another was told before has lost that one.
    const again = { id: 9, client: writer.client } as typeof writer
    expect(() => round.collect(again)).toThrow(
      "LOST: transaction 1 of writer 1 was done again by 9",
    )
  })
})

test("large: a filling is whole, or not there", async () => {
  using root = new TemporaryDirectory()
  const node = new PlainNode(root, "primary")
  const pair = { primary: node, replica: node, directory: root.path } as unknown as Pair
  const round = new Round(pair, new Random(1), "delete")
  const { schema, empty, fill, checks } = filling(5, 800)
  round.checks.push(...checks)
  await round.run(`${schemaSql("delete", 4096, "none")}${schema}`, 30_000)
  for (const sql of [fill(1001), empty, fill(1002)]) {
    await round.run(sql, 30_000)
    await round.checkContent(node.asNode)
  }
  const before = join(node.mount, "before.db")
  copyFileSync(join(node.mount, DATABASE), before)
  for (const [sql, problem] of [
    ["delete from bulk where k = 2", "the bulk of transaction 2 is not whole"],
    ["delete from filled", "there is bulk of transaction 2"],
    ["update bulk set body = zeroblob(800) where k = 3", "bulk 2.3 has a wrong body"],
  ] as const) {
    copyFileSync(before, join(node.mount, DATABASE))
    node.change(DATABASE, sql)
    await expect(round.checkContent(node.asNode)).rejects.toThrow(problem)
  }
})

describe("the log leads to the position and to the files", () => {
  const DAMAGE: Record<string, (database: DatabaseFixture) => void> = {
    "the last file is lost": (database) => rmSync(database.ltxPath(4)),
    "a file is lost": (database) => rmSync(database.ltxPath(2)),
    "two files change places": (database) => {
      renameSync(database.ltxPath(2), database.path("ltx", "other"))
      renameSync(database.ltxPath(3), database.ltxPath(2))
      renameSync(database.path("ltx", "other"), database.ltxPath(3))
    },
    "a file is of another history": (database) =>
      copyFileSync(database.ltxPath(3), database.ltxPath(4)),
    "a byte of the database file is another": (database) => database.flip(700, "database"),
    "the database file is of before": (database) => {
      const before = database.read("database")
      database.commit("insert into t(a) values('newer')")
      database.save()
      writeFileSync(database.path("database"), before)
    },
  }

  function check(directory: DataDirectory, database: DatabaseFixture): void {
    const replayed = replayHistory(directory.root, "app.db")
    const image = database.sqlite.database.serialize()
    const checksum = imageChecksum(image, FIXTURE_PAGE_SIZE).toString(16)
    expect(replayed.pos).toBe(`000000000000000${database.txid}/${checksum}`)
    const content = readContent(directory.root, "app.db")
    expect(difference(replayed.bytes, content, replayed.pageSize)).toBeUndefined()
  }

  test.each(Object.keys(DAMAGE))("but when %s", (what) => {
    using directory = new DataDirectory()
    const database = directory.database()
    check(directory, database)
    DAMAGE[what]?.(database)
    expect(() => check(directory, database)).toThrow()
  })
})

describe("power: what was acknowledged before the cut", () => {
  const LOST: Record<string, object> = {
    "a transaction": { txid: "0000000000000005" },
    "the history that a replica has": { txid: "0000000000000003", checksum: "8000000000000001" },
    "the last row": { first: 1, last: 5 },
    "the first row": { first: 0, last: 4 },
    "a database": { database: "gone.db", first: 1, last: 1 },
    "that a database is gone": { first: 9, last: 8 },
  }

  test.each(Object.keys(LOST))("%s is lost", (what) => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 0)
    for (let n = 1; n <= 4; n++) {
      const create = n === 1 ? "create table tx(n integer primary key);" : ""
      database.commit(`${create} insert into tx values(${n})`)
    }
    database.save()
    const told = { at: 0, database: "app.db" }
    checkRecovery(directory.root, [
      { ...told, txid: "0000000000000004" },
      { ...told, first: 1, last: 4 },
    ])
    expect(() => checkRecovery(directory.root, [{ ...told, ...LOST[what] }])).toThrow(
      /LOST|dropped/,
    )
  })
})

test("readers: half a transaction, and one that is older than what was read", async () => {
  for (const sql of ["update t set v = 7 where i <= 150", "update t set v = v - 1"]) {
    using root = new TemporaryDirectory()
    const node = new PlainNode(root, "node")
    node.change("a.db", `pragma journal_mode = wal; ${WHOLE_ROWS} ${ROWS}`)
    const reader = start(checkingReader(node.asNode, join(root.path, "done"), { timeoutMs: 5000 }))
    await reader.spoken
    node.change("a.db", sql)
    const { code, stderr } = await reader.ended
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('"last":0') })
  }
})

describe("handoff, roles, acks: rows that were acknowledged", () => {
  const DAMAGE: Record<string, string> = {
    "a row is lost": "delete from b where n = 2",
    "the last row is lost": "delete from a where n = 3; delete from b where n = 3",
    "a row is there twice": "insert into a(writer, n) values(0, 2)",
    "a row has another number": "update a set n = 7 where n = 3",
  }
  const acknowledged = { number: 0, acks: [10, 20, 30, 40] }

  test.each(Object.keys(DAMAGE))("but %s", (what) => {
    using root = new TemporaryDirectory()
    const node = new PlainNode(root, "node")
    const ask = (sql: string) => run(["sqlite3", join(node.mount, "a.db"), sql]).trim()
    node.change("a.db", HANDOFF_SCHEMA)
    for (const table of ["a", "b"]) {
      node.change("a.db", `insert into ${table}(writer, n) values(0, 0), (0, 1), (0, 2), (0, 3)`)
    }
    const wanted = ask(DIGEST)
    for (const check of [checkOnce, checkThere]) check(acknowledged, ask)
    expectSeen("a client", ask(DIGEST), wanted)

    node.change("a.db", DAMAGE[what] as string)
    expect(() => checkOnce(acknowledged, ask)).toThrow("writer 0: ")
    if (what !== "a row is there twice") {
      expect(() => checkThere(acknowledged, ask)).toThrow("of 4 acknowledged rows")
    }
    expect(() => expectSeen("a client", ask(DIGEST), wanted)).toThrow("a client reads")
  })
})

describe("halt: transactions that count", () => {
  // Two writers, of which one did not hear of its last.
  const ROWS_OF_BOTH = [
    ...([
      [1, 0, 0],
      [2, 1, 0],
      [3, 0, 1],
    ] as const),
    ...([
      [4, 1, 1],
      [5, 0, 2],
    ] as const),
  ] // as n, writer, i
  const writers = [
    {
      number: 0,
      found: 0,
      acks: new Map([
        [0, 1],
        [1, 3],
      ]),
    },
    { number: 1, found: 1, acks: new Map([[0, 2]]) },
  ]

  test.each([
    ["a row is lost", [0, 1, 3, 4], "row 3 is number 4"],
    ["the last that was acknowledged is lost", [0, 1], "LOST: 1 of writer 0"],
    ["a row is there twice", [0, 1, 1, 2, 3, 4], "row 3 is number 2"],
    ["two rows have changed places", [0, 2, 1, 3, 4], "row 2 is number 3"],
  ] as const)("%s", (_, order, problem) => {
    checkLog(ROWS_OF_BOTH, 5, writers)
    const rows = order.map((index) => ROWS_OF_BOTH[index] as (typeof ROWS_OF_BOTH)[number])
    expect(() => checkLog(rows, rows.length, writers)).toThrow(problem)
  })

  test("a row that is not counted, one that was made again, and transactions out of order", () => {
    expect(() => checkLog(ROWS_OF_BOTH, 6, writers)).toThrow("5 rows, 6 counted")
    const again = [...ROWS_OF_BOTH, [6, 0, 1] as const]
    expect(() => checkLog(again, 6, writers)).toThrow("writer 0: 1 is out of order")
    const unheard = [...ROWS_OF_BOTH, [6, 0, 3] as const]
    expect(() => checkLog(unheard, 6, writers)).toThrow("writer 0: 2 transactions too many")
    const changed = ROWS_OF_BOTH.map(([n, , i]) => [n, n === 2 ? 1 : 0, i] as const)
    expect(() => checkLog(changed, 5, writers)).toThrow("out of order")
  })
})

describe("faults, starts, upkeep: commits and what they leave", () => {
  const steps = [
    ["commit", 1, null],
    ["commit", 2, "disk I/O error"],
    ["commit", 3, null],
  ] as const
  const answer = { steps: [], rows: [1, 3], problems: [], pos: "" }
  const never = () => {
    throw new Error("nothing is unknown")
  }

  test.each([
    ["a commit is lost", { rows: [1] }, "LOST: 3"],
    ["what was rolled back is there", { rows: [1, 3, 9] }, "9 is there, which was rolled back"],
    ["a commit that failed is there", { rows: [1, 2, 3] }, "nothing is unknown"],
    ["the database is not whole", { problems: ["row 1 missing"] }, "integrity_check: row 1"],
    ["nobody can read it", { problem: "disk I/O error" }, "cannot check: disk I/O error"],
  ])("%s", (_, damage, problem) => {
    checkSteps(steps, answer, never)
    expect(() => checkSteps(steps, { ...answer, ...damage }, never)).toThrow(problem)
    expectContent(answer, [[1, 3]], "before")
    expect(() => expectContent({ ...answer, ...damage }, [[1, 3]], "after")).toThrow("after")
  })

  test("a commit before a drop that failed is lost, one before a drop that was done is there", () => {
    const dropped = (problem: string | null) =>
      [
        ["commit", 1, null],
        ["drop", 0, problem],
        ["commit", 3, null],
      ] as const
    checkSteps(dropped(null), { ...answer, rows: [3] }, never)
    expect(() => checkSteps(dropped(null), answer, never)).toThrow("1 is there after the drop")
    expect(() => checkSteps(dropped("no"), { ...answer, rows: [1] }, never)).toThrow("LOST: 3")
  })
})

describe("all of them: the replica is what the primary is", () => {
  const DAMAGE: Record<string, (replica: PlainNode) => void> = {
    "it is where the primary was before": ({ mount }) => {
      writeFileSync(join(mount, "a.db-pos"), "0000000000000001/8000000000000000\n")
    },
    "it lacks a row": (replica) => replica.change("a.db", "delete from t where x = 2"),
    "its file has another byte": ({ data }) => {
      const path = join(data, "dbs/a.db/database")
      writeFileSync(path, readFileSync(path).fill(0x55, 8190, 8191))
    },
    "its file is shorter": ({ data }) => {
      const path = join(data, "dbs/a.db/database")
      writeFileSync(path, readFileSync(path).subarray(0, 4096))
    },
  }

  function plainPair(root: TemporaryDirectory) {
    const nodes = ["primary", "replica"].map((name) => {
      const node = new PlainNode(root, name)
      const sql = "create table t(x); insert into t values(1), (2), (3); create table u(x)"
      run(["sqlite3", join(node.mount, "a.db"), sql])
      const home = join(node.data, "dbs/a.db")
      mkdirSync(home, { recursive: true })
      copyFileSync(join(node.mount, "a.db"), join(home, "database"))
      const checksum = imageChecksum(readFileSync(join(home, "database")), 4096).toString(16)
      writeFileSync(join(node.mount, "a.db-pos"), `0000000000000002/${checksum}\n`)
      return node
    })
    return nodes as [PlainNode, PlainNode]
  }

  test.each(Object.keys(DAMAGE))("but %s", async (what) => {
    using root = new TemporaryDirectory()
    const [primary, replica] = plainPair(root)
    await expectSame(primary.asNode, replica.asNode, "a.db")
    DAMAGE[what]?.(replica)
    await expect(expectSame(primary.asNode, replica.asNode, "a.db", 100)).rejects.toThrow()
  })

  test("and both are not what the position says", async () => {
    using root = new TemporaryDirectory()
    const pair = plainPair(root)
    for (const { mount } of pair) {
      writeFileSync(join(mount, "a.db-pos"), "0000000000000002/8000000000000000\n")
    }
    await expect(expectSame(pair[0].asNode, pair[1].asNode, "a.db")).rejects.toThrow()
  })
})

test("proxy: what was written through one is not found through another", async () => {
  const notes: string[] = []
  let reads = 0
  let forgetsEvery = Infinity
  const server = createServer(async (request, response) => {
    if (request.method === "POST") {
      let body = ""
      for await (const part of request) body += part
      response.end(String(notes.push(body) - 1))
    } else if (++reads % forgetsEvery === 0) response.writeHead(404).end("no such item")
    else response.end(notes[Number(request.url?.split("/").at(-1))])
  })
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const sites = [{ url }, { url }] as unknown as Site[]
  expect(await writeThenRead(sites, new Random(1), 50)).toEqual([])
  forgetsEvery = 25
  expect((await writeThenRead(sites, new Random(1), 50)).length).toBe(2)
  server.close()
})
