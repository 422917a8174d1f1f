import { Database } from "bun:sqlite"
import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { execFileSync } from "node:child_process"
import {
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { DatabaseSource } from "../../src/cli/node/database-source.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { start } from "../support/client.ts"
import { FakeApi } from "../support/fake-api.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { FakeIo } from "../support/fake-io.ts"
import { PROGRAM } from "../support/node.ts"

let directory: string
let path: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "litefs-source-"))
  path = join(directory, "app.db")
})
afterEach(() => rmSync(directory, { recursive: true }))

/** A connection to a database of about a megabyte, with a WAL that holds more of it. */
function filled(mode: "wal" | "delete", at = path): Database {
  const database = new Database(at)
  database.run(`PRAGMA journal_mode=${mode}`)
  database.run("PRAGMA wal_autocheckpoint=0")
  database.run("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)")
  insert(database, 600)
  database.run("PRAGMA wal_checkpoint(TRUNCATE)")
  insert(database, 100)
  return database
}

function insert(database: Database, count: number): void {
  database.run("BEGIN")
  for (let row = 0; row < count; row++) {
    database.run("INSERT INTO t(a) VALUES(hex(randomblob(700)))")
  }
  database.run("UPDATE t SET a = 'changed' WHERE id % 50 = 0")
  database.run("COMMIT")
}

async function contentOf(source: DatabaseSource, between = () => {}): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of source.parts()) {
    parts.push(part)
    if (parts.length === 1) between()
  }
  return Buffer.concat(parts)
}

async function read(at = path, between?: () => void): Promise<Buffer> {
  const source = await DatabaseSource.open(at, systemClock)
  try {
    return await contentOf(source, between)
  } finally {
    await source.close()
  }
}

function rowsOf(content: Uint8Array): number {
  const copy = Buffer.from(content)
  copy[18] = copy[19] = 1 // one in memory has no WAL
  using database = Database.deserialize(copy)
  expect(database.query("PRAGMA integrity_check").values()).toEqual([["ok"]])
  return (database.query("SELECT count(*) AS n FROM t").get() as { n: number }).n
}

/** A copy of the files, which nobody uses. */
function copy(...suffixes: string[]): string {
  const to = join(directory, "copy.db")
  for (const suffix of ["", ...suffixes]) copyFileSync(path + suffix, to + suffix)
  return to
}

describe("DatabaseSource", () => {
  test("DatabaseSource takes in what the WAL holds, of a database that is in use", async () => {
    using database = filled("wal")
    expect(Buffer.compare(await read(), database.serialize())).toBe(0)
    symlinkSync(path, join(directory, "link.db"))
    expect(Buffer.compare(await read(join(directory, "link.db")), database.serialize())).toBe(0)
  })

  test("DatabaseSource takes in a WAL whose program has ended", async () => {
    using database = filled("wal")
    expect(Buffer.compare(await read(copy("-wal")), database.serialize())).toBe(0)
  })

  test("DatabaseSource leaves out what no commit in the WAL follows", async () => {
    using database = filled("wal")
    const image = database.serialize()
    insert(database, 10)
    const at = copy("-wal")
    truncateSync(`${at}-wal`, Bun.file(`${at}-wal`).size - 4000)
    expect(Buffer.compare(await read(at), image)).toBe(0)
  })

  test("DatabaseSource knows the files of a data directory by their names", async () => {
    using database = filled("wal")
    mkdirSync(join(directory, "ltx"))
    renameSync(copy("-wal"), join(directory, "database"))
    renameSync(join(directory, "copy.db-wal"), join(directory, "wal"))
    expect(Buffer.compare(await read(join(directory, "database")), database.serialize())).toBe(0)
  })

  test("DatabaseSource stays at one state while others write and check the WAL in", async () => {
    using database = filled("wal")
    const image = database.serialize()
    const content = await read(path, () => {
      insert(database, 50)
      database.run("PRAGMA wal_checkpoint(TRUNCATE)")
      database.run("PRAGMA wal_checkpoint(RESTART)")
      insert(database, 50)
    })
    expect(Buffer.compare(content, image)).toBe(0)
    expect(rowsOf(content)).toBe(700)
    database.run("PRAGMA wal_checkpoint(TRUNCATE)") // the locks are gone
    expect(Bun.file(`${path}-wal`).size).toBe(0)
  })

  test("DatabaseSource stays at one state when the WAL was checked in before", async () => {
    using database = filled("wal")
    database.run("PRAGMA wal_checkpoint(PASSIVE)")
    const image = database.serialize()
    const content = await read(path, () => {
      insert(database, 300)
      database.run("PRAGMA wal_checkpoint(TRUNCATE)")
      insert(database, 300)
    })
    expect(Buffer.compare(content, image)).toBe(0)
  })

  test("DatabaseSource keeps the last client from taking the WAL away", async () => {
    const database = filled("wal")
    const image = database.serialize()
    expect(Buffer.compare(await read(path, () => database.close()), image)).toBe(0)
  })

  test("DatabaseSource keeps writers out while it reads, in rollback modes", async () => {
    using database = filled("delete")
    const image = database.serialize()
    const content = await read(path, () => {
      expect(() => insert(database, 1)).toThrow("database is locked")
      database.run("ROLLBACK")
    })
    expect(Buffer.compare(content, image)).toBe(0)
    insert(database, 1)
  })

  test("DatabaseSource takes no journal for hot whose writer lives", async () => {
    using database = filled("delete")
    const image = database.serialize()
    database.run("BEGIN IMMEDIATE; UPDATE t SET a = 'x'")
    expect(Buffer.compare(await read(), image)).toBe(0)
  })

  test("DatabaseSource refuses a hot journal", async () => {
    using database = filled("delete")
    database.run("PRAGMA cache_size=2")
    database.run("BEGIN")
    database.run("UPDATE t SET a = hex(randomblob(700))")
    const at = copy("-journal")
    await expect(read(at)).rejects.toThrow(
      `Cannot import "${at}": "${at}-journal" holds what an interrupted transaction has overwritten, make a whole file first: sqlite3 "${at}" ".backup COPY"`,
    )
    database.run("ROLLBACK")
    // One that is done with, and one that has nothing to undo.
    writeFileSync(`${at}-journal`, new Uint8Array(2000))
    expect(rowsOf(await read(path))).toBe(700)
  })

  test("DatabaseSource waits for a writer, and for 10 seconds at most", async () => {
    using database = filled("delete")
    database.run("BEGIN EXCLUSIVE")
    const clock = new FakeClock()
    const opening = DatabaseSource.open(path, clock)
    const outcome = opening.then(
      () => "open",
      (error: Error) => error.message,
    )
    // As long as it takes: it also waits for the disk, and nobody else moves the clock.
    let isOver = false
    const over = outcome.finally(() => {
      isOver = true
    })
    while (!isOver) {
      await Bun.sleep(0)
      clock.advance(20)
    }
    expect(await over).toBe(
      `Cannot import "${path}": another program keeps it locked, try again when it is done`,
    )
    const second = DatabaseSource.open(path, systemClock)
    await Bun.sleep(60)
    database.run("COMMIT")
    await (await second).close()
  })

  test("DatabaseSource says so at the end when somebody has written whom no lock kept out", async () => {
    using database = filled("wal")
    const at = copy("-wal")
    const reading = read(at, () => {
      using late = new Database(at) // there was no -shm to lock
      late.run("PRAGMA wal_checkpoint(TRUNCATE)")
    })
    await expect(reading).rejects.toThrow(
      `Cannot import "${at}": another program wrote to it while it was read, make a copy first: sqlite3 "${at}" ".backup COPY"`,
    )
    expect(database.inTransaction).toBe(false)
  })

  test("DatabaseSource refuses a WAL of another page size", async () => {
    using database = filled("wal")
    const at = copy("-wal")
    const other = join(directory, "other.db")
    {
      using small = new Database(other)
      small.run("PRAGMA page_size=512")
      small.run("CREATE TABLE t(a)")
    }
    copyFileSync(other, at)
    await expect(read(at)).rejects.toThrow(
      /has pages of another size and belongs to another database/,
    )
    expect(database.inTransaction).toBe(false)
  })
})

describe("litefs import", () => {
  test("import sends what is in the WAL", async () => {
    using database = filled("wal")
    await using api = await FakeApi.start((response) => response.end())
    const io = new FakeIo()
    const code = await run(["import", "--url", api.url, "--name", "a.db", path], io)
    expect({ code, err: io.err }).toEqual({ code: 0, err: "" })
    expect(Buffer.compare(api.requests[0]?.body as Buffer, database.serialize())).toBe(0)
  })

  test("import warns of a database in WAL mode whose WAL it cannot see", async () => {
    await using api = await FakeApi.start((response) => response.end())
    const importFrom = async (from: string, input = new Uint8Array(0)) => {
      const io = new FakeIo()
      io.input = [input.subarray(0, 10), input.subarray(10)]
      const code = await run(["import", "--url", api.url, "--name", "a.db", from], io)
      return { code, err: io.err }
    }
    const warned = {
      code: 0,
      err: expect.stringMatching(
        /^WARNING: .*WAL mode.*'\.backup COPY', VACUUM INTO, or PRAGMA wal_checkpoint.*\n$/,
      ),
    }
    const quiet = { code: 0, err: "" }
    {
      using database = filled("wal")
      database.run("VACUUM INTO ?", [join(directory, "whole.db")])
    }
    // A process of its own: locks of this one go when it closes any other descriptor of the file.
    const client = Bun.spawn(["sqlite3", path], { stdin: "pipe", stdout: "pipe" })
    client.stdin.write("INSERT INTO t(a) VALUES('x'); SELECT 'ready';\n")
    await client.stdin.flush()
    await client.stdout.getReader().read()
    expect(await importFrom("-", readFileSync(path))).toEqual(warned)
    expect(await importFrom(path)).toEqual(quiet)
    const other = join(directory, "other-name.db")
    linkSync(path, other) // SQLite calls the WAL after the name by which it has opened the file
    expect(await importFrom(other)).toEqual(warned)
    client.stdin.end()
    await client.exited
    expect(await importFrom(other)).toEqual(quiet)
    expect(await importFrom("-", readFileSync(join(directory, "whole.db")))).toEqual(quiet)
    expect(await importFrom(path)).toEqual(quiet) // nobody has it open any more
    expect(await importFrom("-", new TextEncoder().encode("no database"))).toEqual(quiet)
    expect(api.requests.every(({ method }) => method === "POST")).toBe(true)
  })

  test("import waits for no named pipe", async () => {
    execFileSync("mkfifo", [path])
    const words = ["import", "--name", "app.db", path]
    const { code, stderr } = await start(["timeout", "20", ...PROGRAM, ...words]).ended
    expect([code, stderr]).toEqual([1, `ERROR: Cannot import "${path}": it is not a file\n`])
  })

  test("import sends nothing of a file with a hot journal", async () => {
    using database = filled("delete")
    database.run("PRAGMA cache_size=2")
    database.run("BEGIN")
    database.run("UPDATE t SET a = hex(randomblob(700))")
    const at = copy("-journal")
    await using api = await FakeApi.start((response) => response.end())
    const io = new FakeIo()
    const code = await run(["import", "--url", api.url, "--name", "a.db", at], io)
    expect(code).toBe(1)
    expect(io.err).toStartWith(`ERROR: Cannot import "${at}": "${at}-journal" holds what`)
    expect(api.requests).toEqual([])
  })
})
