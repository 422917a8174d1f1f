/** Writers that compete on the primary, while a connection on the replica keeps reading. */
import { expect } from "bun:test"
import {
  expectQuiet,
  expectSame,
  nodeCommand,
  output,
  sqlite3,
  sqlite3Command,
  start,
} from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { flagsOf, SEEN_LOCKS, STRICT } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { rounds, testRandom } from "../support/random.ts"
import { someModes } from "../torture/model.ts"

/** Of each writer; in the long form 250. */
const TRANSACTIONS = rounds(80, 250)

/** Every transaction adds a row to both tables, so no reader may ever find that they differ. */
const SCHEMA = `
  create table a(id integer primary key, writer text, n integer);
  create table b(id integer primary key, padding blob);
`

const WATCH = `
  const end = Date.now() + 25000
  const count = db.prepare("select (select count(*) from a), (select count(*) from b)").raw()
  const counts = new Set()
  for (;;) {
    const [a, b] = count.get()
    if (a !== b) throw new Error("half a transaction: " + a + " and " + b)
    counts.add(a)
    if (a === ${2 * TRANSACTIONS}) return counts.size
    if (Date.now() > end) throw new Error("still at " + a)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2)
  }
`

test.each<[string, string]>([
  ...someModes(testRandom()).map((mode): [string, string] => [mode, ""]),
  ["wal", STRICT],
  ["delete", SEEN_LOCKS],
  ["wal", SEEN_LOCKS],
])(
  "%p mode%s: hundreds of transactions from two processes arrive whole, one after the other, on the replica",
  async (mode, how) => {
    await using scope = await pair({ flags: flagsOf(how), mode, sql: `${SCHEMA}` })
    const { primary, replica } = scope
    const watcher = new LongClient(scope, replica, "a.db")
    const watching = watcher.run(WATCH)

    const sql = Array.from({ length: TRANSACTIONS }, (_, n) => transaction("cli", n))
    const writers = [
      start(sqlite3Command(primary, "a.db"), {
        input: [`pragma journal_mode = ${mode};`, ...sql].join("\n"),
      }),
      start(
        nodeCommand(
          primary,
          `
          const a = db("a.db")
          a.pragma("journal_mode = ${mode}")
          const add = a.transaction((n) => {
            a.prepare("insert into a(writer, n) values('node', ?)").run(n)
            a.prepare("insert into b(padding) values(randomblob(200))").run()
          })
          for (let n = 0; n < ${TRANSACTIONS}; n++) add.immediate(n)
        `,
        ),
      ),
    ]
    await Promise.all(writers.map(output))

    expect(await watching).toBeGreaterThan(5)
    const position = await expectSame(primary, replica, "a.db")
    // Behind writers that pass, one transaction may have several commits.
    const least = mode === "wal" && how === "" ? 1 : 2 * TRANSACTIONS
    expect(Number.parseInt(position, 16)).toBeGreaterThanOrEqual(least)
    expect(
      sqlite3(replica, "a.db", "select writer, count(*), count(distinct n) from a group by 1"),
    ).toBe(`cli|${TRANSACTIONS}|${TRANSACTIONS}\nnode|${TRANSACTIONS}|${TRANSACTIONS}`)
    expect(sqlite3(replica, "a.db", "select count(*) from b")).toBe(`${2 * TRANSACTIONS}`)
    await watcher.close()
    await expectQuiet(replica, primary)
  },
  40_000,
)

function transaction(writer: string, n: number): string {
  return `begin immediate; insert into a(writer, n) values('${writer}', ${n});
    insert into b(padding) values(randomblob(200)); commit;`
}
