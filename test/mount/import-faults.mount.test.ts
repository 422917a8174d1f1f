/**
 * An import in which a system call fails, or at which the daemon is killed: the old database is whole, or the new.
 * Some of the calls, chosen at random; all of them with LITEFS_ALL_FAULTS.
 */
import { Database } from "bun:sqlite"
import { expect } from "bun:test"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { expectSame, pos, sqlite3, start } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { IS_THOROUGH, testRandom } from "../support/random.ts"
import { CallFaults } from "../torture/call-faults.ts"
import { replayHistory } from "../torture/history-check.ts"

/** In the order in which an import makes them: on the main thread, on the one that checks, on the fs thread. */
const OPS = [
  "import:open#1",
  "import:write#1",
  "import:fsync#1",
  "checksums:fsync#1",
  "checksums:rename#1",
  "checksums:unlink#1",
  "ltx:open#1",
  "ltx:write#1",
  "ltx:write#2",
  "ltx:fsync#1",
  "ltx:rename#1",
  "ltx:sync-dir#1",
  "ltx:sync-dir#2",
  "database:link#1",
  "database:replace#1",
  "database:open#1",
  "wal:truncate#1",
]

const SAMPLE = 4
const random = testRandom()

function someOps(): string[] {
  if (IS_THOROUGH) return OPS
  return OPS.filter((_, index) => random.below(OPS.length) < SAMPLE || index % OPS.length === 14)
}

class Importing {
  readonly #scope: Scope
  readonly faults: CallFaults
  readonly #file: string
  primary: TestNode
  /** Of the last import that was tried. */
  version = 0

  static async start(scope: Scope): Promise<Importing> {
    const faults = new CallFaults(join(scope.directory, "calls"))
    return new Importing(scope, faults, await scope.node({ env: faults.env }))
  }

  private constructor(scope: Scope, faults: CallFaults, primary: TestNode) {
    this.#scope = scope
    this.faults = faults
    this.#file = join(scope.directory, "file.db")
    this.primary = primary
    using database = new Database(this.#file)
    database.run("CREATE TABLE t(version, x); CREATE TABLE pad(x)")
    for (let row = 0; row < 20; row++) database.run("INSERT INTO t VALUES(0, randomblob(9000))")
  }

  /** The version that it has then; undefined when the import failed. */
  async import(): Promise<number | undefined> {
    this.version += 1
    using database = new Database(this.#file)
    database.run(`UPDATE t SET version = ${this.version}`)
    const args = ["import", "--url", this.primary.url, "--name", "a.db", this.#file]
    const { code } = await start([...PROGRAM, ...args]).ended
    return code === 0 ? this.version : undefined
  }

  async restart(): Promise<void> {
    await this.primary.end()
    this.primary = await this.#scope.again(this.primary, { env: this.faults.env })
  }

  /** The database is whole and its log leads to it. Returns which version it is. */
  check(): number {
    const found = sqlite3(
      this.primary,
      "a.db",
      "pragma integrity_check; select count(distinct version), count(*), max(version) from t",
    )
    const [, versions, rows, version] = /^ok\n(\d+)\|(\d+)\|(\d+)$/.exec(found) ?? []
    expect({ versions, rows }).toEqual({ versions: "1", rows: "20" })
    expect(replayHistory(this.primary.data, "a.db").pos).toBe(pos(this.primary, "a.db"))
    return Number(version)
  }
}

test.each(["wal", "delete"] as const)(
  "%s mode: a system call that fails in an import leaves the old database or the new one",
  async (mode) => {
    await using scope = new Scope()
    const importing = await Importing.start(scope)
    const replica = await scope.node({ follows: importing.primary })
    expect(await importing.import()).toBe(1)
    sqlite3(importing.primary, "a.db", `pragma journal_mode = ${mode}`)
    let version = 1
    let refused = 0
    for (const op of someOps()) {
      const client = new LongClient(scope, importing.primary, "a.db")
      await client.exec("insert into pad values(1)") // in the WAL, not in the file
      importing.faults.set(`${op}=EIO`)
      const imported = await importing.import()
      importing.faults.set("")
      await client.close()
      if (/restart litefs/.test(importing.primary.output)) await importing.restart()
      const found = importing.check()
      if (imported === undefined) refused += 1
      else expect(found).toBe(imported)
      expect([version, importing.version]).toContain(found)
      version = found
      sqlite3(importing.primary, "a.db", "insert into pad values(2)")
    }
    expect(refused).toBeGreaterThan(0)
    version = (await importing.import()) ?? 0
    expect(importing.check()).toBe(version)
    await expectSame(importing.primary, replica, "a.db")
    expect(readdirSync(join(importing.primary.data, "import"))).toEqual([])
  },
  90_000,
)

test("a daemon that is killed in an import finds the old database or the new one", async () => {
  await using scope = new Scope()
  const importing = await Importing.start(scope)
  expect(await importing.import()).toBe(1)
  sqlite3(importing.primary, "a.db", "pragma journal_mode = wal")
  let version = 1
  for (const op of someOps()) {
    const client = new LongClient(scope, importing.primary, "a.db")
    await client.exec("insert into pad values(1)")
    importing.faults.set(`${op}=kill`)
    const imported = await importing.import()
    if (imported === undefined) await importing.primary.exited
    importing.faults.set("")
    await client.close("SIGKILL")
    if (!importing.primary.isRunning) await importing.restart()
    const found = importing.check()
    if (imported !== undefined) expect(found).toBe(imported)
    expect([version, importing.version]).toContain(found)
    version = found
    expect(sqlite3(importing.primary, "a.db", "insert into pad values(2)")).toBe("")
    expect(readdirSync(join(importing.primary.data, "import"))).toEqual([])
  }
}, 120_000)
