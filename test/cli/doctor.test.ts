import { Database } from "bun:sqlite"
import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { spawnSync } from "node:child_process"
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { ClusterId } from "../../src/cluster/role/cluster-id.ts"
import { StaticLease } from "../../src/cluster/role/static-lease.ts"
import { beginTakeover } from "../../src/diverged/takeover.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { formatLtxFileName } from "../../src/ltx/file-name.ts"
import { recoverDatabase } from "../../src/recovery/recover.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { CommitLog } from "../../src/store/log/commit-log.ts"
import { closeFile } from "../../src/sys/file.ts"
import {
  type DatabaseFixture,
  DataDirectory,
  FIXTURE_PAGE_SIZE,
} from "../support/data-directory.ts"
import { FakeIo } from "../support/fake-io.ts"
import { hotJournal } from "../support/hot-journal.ts"
import { RecordedLog } from "../support/recorded-log.ts"
import { WalWriter } from "../support/wal-writer.ts"

let data: DataDirectory

beforeEach(() => {
  data = new DataDirectory()
})
afterEach(() => data[Symbol.dispose]())

async function litefs(...args: string[]) {
  const io = new FakeIo()
  const code = await run(["doctor", "--data-dir", data.root, ...args], io)
  return { code, out: plain(io.out), err: plain(io.err) }
}

function plain(text: string): string {
  return text.replaceAll(data.root, "DATA").replace(/\b[89a-f][0-9a-f]{15}\b/g, "CHECKSUM")
}

interface JsonFinding {
  readonly code: string
  readonly severity: "note" | "problem"
  readonly path: string
  readonly what: string
  readonly repair: string | null
  readonly options: readonly string[]
}

interface JsonReport {
  readonly healthy: boolean
  readonly findings: readonly JsonFinding[]
  readonly databases: readonly {
    readonly name: string
    readonly findings: readonly JsonFinding[]
  }[]
  readonly repaired: readonly JsonFinding[]
  readonly kept: readonly string[]
}

async function report(...args: string[]): Promise<{ code: number; report: JsonReport }> {
  const { code, out, err } = await litefs("--json", ...args)
  expect(err).toBe("")
  return { code, report: JSON.parse(out) }
}

function findings({ findings, databases }: JsonReport): JsonFinding[] {
  return [...findings, ...databases.flatMap((database) => database.findings)]
}

function problems(given: JsonReport): string[] {
  return findings(given)
    .filter(({ severity }) => severity === "problem")
    .map(({ code }) => code)
}

/** What is found, that looking changes nothing, that --repair mends it, and that it then is healthy. */
async function expectRepaired(codes: string[], kept: string[]): Promise<JsonReport> {
  const before = data.content
  const found = await report()
  expect({ code: found.code, codes: problems(found.report) }).toEqual({ code: 1, codes })
  expect(data.content).toEqual(before)

  const repaired = await report("--repair")
  expect({ code: repaired.code, codes: problems(repaired.report) }).toEqual({ code: 0, codes: [] })
  expect(repaired.report.repaired.map(({ code }) => code)).toEqual(codes)
  const damaged = [...data.content.keys()].filter((path) => path.startsWith("damaged/"))
  expect(damaged.map((path) => path.split("/").slice(2).join("/"))).toEqual(kept)
  const lost = [...before.values()].filter((bytes) => ![...data.content.values()].includes(bytes))
  expect(lost).toEqual([]) // but for the contents that are now under another name
  const after = data.content
  const second = await report("--repair")
  expect({ code: second.code, repaired: second.report.repaired }).toEqual({ code: 0, repaired: [] })
  expect(data.content).toEqual(after)
  return found.report
}

/** Findings that nothing can be done about: --repair leaves everything as it is. */
async function expectUnrepaired(codes: string[]): Promise<JsonFinding[]> {
  const before = data.content
  const { code, report: given } = await report("--repair")
  expect({ code, codes: problems(given) }).toEqual({ code: 1, codes })
  expect(given.repaired).toEqual([])
  expect(data.content).toEqual(before)
  const found = findings(given).filter(({ severity }) => severity === "problem")
  expect(found.some(({ options }) => options.length > 0)).toBe(true)
  return found
}

/** What SQLite had before the transaction that is now in the middle of being written. */
function interrupt(app: DatabaseFixture): Uint8Array {
  const before = app.read("database")
  app.sqlite.run("PRAGMA cache_size=2")
  app.sqlite.run("BEGIN")
  app.sqlite.run("UPDATE t SET a = hex(randomblob(300))")
  app.save()
  expect(existsSync(app.path("journal"))).toBe(true)
  expect(Buffer.compare(app.read("database"), before)).not.toBe(0)
  return before
}

describe("litefs doctor", () => {
  test("finds nothing wrong", async () => {
    data.database("app.db", 4)
    data.database("new.db", 0)
    expect(await litefs()).toEqual({
      code: 0,
      out: `app.db  0000000000000004/CHECKSUM  ${size("app.db")} pages of 512 bytes, 4 LTX files: healthy
new.db  without a position  0 LTX files: healthy
`,
      err: "",
    })
  })

  test("reads nothing of what lies beyond the end of a database", async () => {
    const app = data.database("app.db", 4)
    truncateSync(app.path("database"), 1024 ** 4) // 2^31 pages, which no memory holds
    const { code, out, err } = await litefs()
    expect({ code, out, err }).toMatchObject({ code: 0, err: "" })
    expect(out).toContain("4 LTX files: healthy")
  })

  test.each(["wal", "journal"] as const)("nor with a %s that says less", async (file) => {
    const app = data.database("app.db", 4, file === "wal" ? "wal" : "delete")
    if (file === "journal") writeFileSync(app.path("journal"), hotJournal(2, new Map()))
    const before = (await report()).report
    truncateSync(app.path("database"), 1024 ** 4)
    expect(problems((await report()).report)).toEqual(problems(before))
  })

  test("does not believe a WAL or a journal of more pages than there can be", async () => {
    const wal = new WalWriter(FIXTURE_PAGE_SIZE)
    const app = data.database("app.db", 4)
    const page = { pgno: 1, data: app.read("database").subarray(0, FIXTURE_PAGE_SIZE) }
    const writes = [wal.header, ...wal.frames([page], 0xfffffffe)]
    writeFileSync(app.path("wal"), Buffer.concat(writes.map(({ bytes }) => bytes)))
    expect(problems((await report()).report)).toEqual([])
    rmSync(app.path("wal"))
    writeFileSync(app.path("journal"), hotJournal(0xffffffff, new Map([[1, page.data]])))
    expect(problems((await report()).report)).toEqual(["journal-late"])
  })

  test("explains each finding, and what can be done", async () => {
    const app = data.database("app.db", 4)
    writeFileSync(app.path("notes.txt"), "")
    app.flip(600, "database")
    const { out } = await litefs()
    expect(out.replace(/\d+ pages/, "N pages")).toMatchInlineSnapshot(`
      "app.db  0000000000000004/CHECKSUM  N pages of 512 bytes, 4 LTX files: 2 problems
        problem with DATA/dbs/app.db/database
          page 2 is different from the log at TXID 0000000000000004, and the LTX files have what is missing.
          --repair replays the LTX files onto the database file, keeps what there was in damaged/.
        note with DATA/dbs/app.db/database
          SQLite's integrity_check was skipped: the database file alone is not the whole database now.
        problem with DATA/dbs/app.db/notes.txt
          not one of the files of a database; LiteFS does not use it.
          --repair moves it to damaged/.

      Nothing has been changed. Run it again with --repair.
      "
    `)
    const repaired = await litefs("--repair")
    expect(repaired.out.replace(/\d+ pages/g, "N pages")).toMatchInlineSnapshot(`
      "app.db  0000000000000004/CHECKSUM  N pages of 512 bytes, 4 LTX files: 2 problems
        problem with DATA/dbs/app.db/database
          page 2 is different from the log at TXID 0000000000000004, and the LTX files have what is missing.
          --repair replays the LTX files onto the database file, keeps what there was in damaged/.
        note with DATA/dbs/app.db/database
          SQLite's integrity_check was skipped: the database file alone is not the whole database now.
        problem with DATA/dbs/app.db/notes.txt
          not one of the files of a database; LiteFS does not use it.
          --repair moves it to damaged/.

      What was replaced or moved is kept in DATA/damaged/1970-01-01T00-00-00.000Z-app.db

      After the repairs:

      app.db  0000000000000004/CHECKSUM  N pages of 512 bytes, 4 LTX files: healthy
      "
    `)
  })

  test("examines the databases that are named", async () => {
    data.database("a.db", 1)
    data.database("b.db", 1).flip(10, "database")
    expect((await report("a.db")).code).toBe(0)
    const { code, report: given } = await report("b.db")
    expect({ code, names: given.databases.map(({ name }) => name) }).toEqual({
      code: 1,
      names: ["b.db"],
    })
  })

  test("refuses a data directory that is in use", async () => {
    const lock = new DataDir(data.root).lock()
    const { code, err } = await litefs()
    closeFile(lock)
    expect({ code, err }).toEqual({
      code: 1,
      err: 'ERROR: Cannot use data directory "DATA": another litefs uses it, stop that one or choose another --data-dir\n',
    })
  })

  test("refuses a directory that is none of a node, and a database that is not there", async () => {
    data.database("app.db", 1)
    expect((await litefs("other.db")).err).toBe(
      'ERROR: Cannot examine database "other.db": it is not in "DATA", which has app.db\n',
    )
    rmSync(join(data.root, "dbs"), { recursive: true })
    expect((await litefs()).err).toBe(
      'ERROR: Cannot examine "DATA": it has no "dbs", give the data directory of a node with --data-dir\n',
    )
  })

  test("has help", async () => {
    expect((await litefs("--help")).out).toMatchInlineSnapshot(`
      "The doctor command will examine the data directory of a node that is not running:
      whether the LTX files of each database follow on each other, whether the
      database is what they say it is, what is in its WAL and its journal, and what
      SQLite itself finds. It explains each finding, and changes nothing unless
      --repair is given.

      Usage:

      	litefs doctor [flags] [DATABASE...]

      Flags:

      	--data-dir DIR  examine the databases that are kept here (default /var/lib/litefs)
      	--repair        repair what can be repaired without losing anything
      	--json          print one JSON document

      Every flag can be set in the environment too: --data-dir is LITEFS_DATA_DIR.
      A flag on the command line wins.

      A DATABASE is a name, like app.db. Without one all of them are examined.

      With --repair it rolls back interrupted transactions, replays LTX files onto
      database files, and sets aside what is torn or does not belong there. Whatever
      it replaces or moves is kept in DIR/damaged, in a directory with the time and
      the name of the database. What it cannot repair without losing something it
      leaves as it is, and says what can be done.

      The exit code is 0 if everything is healthy or has been repaired, else 1. Stop
      LiteFS first: a data directory in use is refused.

      Examples:

      	# what is wrong
      	litefs doctor

      	# one database of another directory
      	litefs doctor --data-dir /srv/litefs app.db

      	# mend what can be mended, and start only if all is well
      	litefs doctor --repair && litefs mount --primary -- node server.js

      	# the problems, for a script
      	litefs doctor --json | jq '.databases[].findings[] | select(.severity == "problem")'
      "
    `)
  })
})

function size(name: string): number {
  return readFileSync(join(data.root, "dbs", name, "database")).length / 512
}

describe("litefs doctor of the log", () => {
  test("a torn last file, whose transaction the journal takes back", async () => {
    const app = data.database("app.db", 4)
    const before = interrupt(app)
    app.sqlite.run("COMMIT")
    app.capture()
    truncateSync(app.ltxPath(5), 180)
    await expectRepaired(["ltx-torn", "journal-hot"], ["database", "database-journal"])
    expect(Buffer.compare(app.read("database"), before)).toBe(0)
    expect(existsSync(`${app.ltxPath(5)}.torn-0`)).toBe(true)
  })

  test("a torn last file that a replica has not applied", async () => {
    const app = data.database("app.db", 4)
    app.commit("DELETE FROM t WHERE id = 2")
    truncateSync(app.ltxPath(5), 20)
    await expectRepaired(["ltx-torn"], [])
  })

  test("a damaged last file whose transaction the database has", async () => {
    const app = data.database("app.db", 4)
    const before = app.read("database")
    app.flip(120, "ltx", "0000000000000004-0000000000000004.ltx")
    const given = await expectRepaired(["ltx-damaged"], [])
    expect(findings(given)[0]?.what).toEndWith(
      "; the database has its transaction, and the next start of LiteFS makes the file again",
    )
    expect(Buffer.compare(app.read("database"), before)).toBe(0)
    expect(existsSync(`${app.ltxPath(4)}.damaged-0`)).toBe(true)
  })

  test("a damaged last file whose transaction the database does not have", async () => {
    const app = data.database("app.db", 3)
    app.commit("DELETE FROM t WHERE id = 2")
    app.flip(120, "ltx", "0000000000000004-0000000000000004.ltx")
    await expectUnrepaired(["ltx-damaged"])
  })

  test("a last file that is missing while the database has its transaction", async () => {
    const app = data.database("app.db", 4)
    rmSync(app.ltxPath(4))
    await expectUnrepaired(["database-newer"])
  })

  test("two damaged files at the end", async () => {
    const app = data.database("app.db", 4)
    for (const txid of [3, 4]) truncateSync(app.ltxPath(txid), 20)
    await expectUnrepaired(["ltx-damaged", "ltx-damaged", "database-newer"])
  })

  test.each<[string, string[], (app: DatabaseFixture) => void, string[]]>([
    ["a gap", ["ltx-gap"], (app) => rmSync(app.ltxPath(2)), ["1"]],
    [
      "a damaged file in the middle",
      ["ltx-damaged"],
      (app) => app.flip(120, "ltx", "0000000000000002-0000000000000002.ltx"),
      ["1", "2"],
    ],
    [
      "a break of the checksums",
      ["ltx-checksum", "ltx-checksum"],
      (app) => {
        app.txid = 1n
        app.capture(new Uint8Array(1024).fill(7)) // another transaction 2
      },
      ["1", "2"],
    ],
  ])("%s", async (_, codes, damage, moved) => {
    const app = data.database("app.db", 4)
    damage(app)
    const hex = moved.map((txid) => txid.padStart(16, "0"))
    await expectRepaired(
      codes,
      hex.map((txid) => `ltx/${txid}-${txid}.ltx`),
    )
  })

  test("a gap, when the files after it do not make the database", async () => {
    const app = data.database("app.db", 4)
    app.commit("CREATE TABLE u(b)")
    app.commit("INSERT INTO u VALUES(1)")
    app.save()
    rmSync(app.ltxPath(5))
    app.flip(600, "database")
    await expectUnrepaired(["ltx-gap", "database-damaged"])
  })

  test("files that do not belong there", async () => {
    const app = data.database("app.db", 1)
    const names = ["a.tmp", "readme"]
    for (const name of names) writeFileSync(app.path("ltx", name), name)
    const given = await expectRepaired(
      ["stray", "stray"],
      names.map((name) => `ltx/${name}`),
    )
    expect(findings(given).map(({ what }) => what.split(",")[0])).toEqual([
      "a part of an LTX file",
      "not an LTX file by its name; LiteFS does not use it",
    ])
  })
})

describe("litefs doctor of the database file", () => {
  test("a flipped byte that the log has", async () => {
    const app = data.database("app.db", 4)
    const before = app.read("database")
    app.flip(1000, "database")
    const given = await expectRepaired(["database-behind"], ["database"])
    expect(findings(given)[0]?.what).toStartWith("page 2 is different from the log at TXID")
    expect(Buffer.compare(app.read("database"), before)).toBe(0)
  })

  test("a flipped byte, after a repair that was killed", async () => {
    const app = data.database("app.db", 4)
    const before = app.read("database")
    app.flip(1000, "database")
    app.append("half of a copy", "database.repairing")
    const { code, report: given } = await report("--repair")
    expect({ code, codes: problems(given) }).toEqual({ code: 0, codes: [] })
    expect(Buffer.compare(app.read("database"), before)).toBe(0)
    expect(existsSync(app.path("database.repairing"))).toBe(false)
  })

  test("a file that is too short, or gone", async () => {
    const app = data.database("app.db", 4)
    const before = app.read("database")
    truncateSync(app.path("database"), 512)
    await expectRepaired(["database-behind"], ["database"])
    rmSync(app.path("database"))
    expect((await report("--repair")).code).toBe(0)
    expect(Buffer.compare(app.read("database"), before)).toBe(0)
  })

  test("a flipped byte of a page that no LTX file has any more", async () => {
    const app = data.database("app.db", 1)
    app.commit("CREATE TABLE u(b)")
    app.commit("INSERT INTO u VALUES(1)")
    app.save()
    rmSync(app.ltxPath(1))
    rmSync(app.ltxPath(2))
    app.flip(600, "database")
    const [found] = await expectUnrepaired(["database-damaged"])
    expect(found?.options).toHaveLength(3)
  })

  test("a hot journal", async () => {
    const app = data.database("app.db", 4)
    const before = interrupt(app)
    await expectRepaired(["journal-hot"], ["database", "database-journal"])
    expect(Buffer.compare(app.read("database"), before)).toBe(0)
  })

  test("a hot journal of a transaction that is in the log", async () => {
    const app = data.database("app.db", 4)
    interrupt(app)
    app.sqlite.run("COMMIT")
    app.capture()
    writeFileSync(app.path("database"), app.sqlite.read())
    const committed = app.read("database")
    await expectRepaired(["journal-late"], ["database-journal"])
    expect(existsSync(app.path("synced"))).toBe(false) // the file was not synced here
    expect(Buffer.compare(app.read("database"), committed)).toBe(0)
  })

  test("a database that was deleted", async () => {
    const app = data.database("app.db", 2)
    app.capture(new Uint8Array(0))
    await expectRepaired(["database-left"], ["database"])
  })

  test("a database without a log", async () => {
    const app = data.database("app.db", 1)
    rmSync(app.ltxPath(1))
    const { code, report: given } = await report()
    expect(code).toBe(0)
    expect(findings(given).map(({ code }) => code)).toEqual(["database-unlogged"])
    writeFileSync(app.path("database"), "no database")
    await expectUnrepaired(["not-a-database"])
  })

  test("what only SQLite sees", async () => {
    const app = data.database("app.db", 1)
    const image = app.read("database")
    image[39] = 1 // the header says that one page is free, and none is
    app.capture(image)
    writeFileSync(app.path("database"), image)
    const [found] = await expectUnrepaired(["integrity"])
    expect(found?.what).toStartWith("SQLite's integrity_check says: ")
  })

  test("a file that SQLite cannot read", async () => {
    const app = data.database("app.db", 1)
    const image = app.read("database")
    image[100] = 0xff // no kind of b-tree page
    app.capture(image)
    writeFileSync(app.path("database"), image)
    const [found] = await expectUnrepaired(["integrity"])
    expect(found?.what).toContain("malformed")
  })

  test("a file that lacks two equal pages, which the checksum cannot tell", async () => {
    const app = data.database("app.db", 2)
    const image = app.read("database")
    app.capture(Buffer.concat([image, new Uint8Array(2 * FIXTURE_PAGE_SIZE).fill(7)]))
    app.save()
    const { code, report: given } = await report()
    expect({ code, codes: problems(given) }).toEqual({ code: 1, codes: ["database-behind"] })
  })

  test("a hot journal of a transaction that has changed two pages equally, which the checksum cannot tell", async () => {
    const app = data.database("app.db", 2)
    const image = app.read("database")
    const pages = (byte: number) => new Uint8Array(2 * FIXTURE_PAGE_SIZE).fill(byte)
    app.capture(Buffer.concat([image, pages(7)]))
    const wanted = Buffer.concat([image, pages(7)])
    wanted[99] = (wanted[99] as number) + 1
    app.capture(wanted)
    rmSync(app.ltxPath(3))
    const changed = Buffer.from(wanted)
    changed.set(pages(8), image.length)
    writeFileSync(app.path("database"), changed)
    const first = image.length / FIXTURE_PAGE_SIZE + 1
    const before = pages(7).subarray(FIXTURE_PAGE_SIZE)
    const journal = hotJournal(
      first + 1,
      new Map([
        [first, before],
        [first + 1, before],
      ]),
    )
    writeFileSync(app.path("journal"), journal)
    writeFileSync(app.path("synced"), "0000000000000004\n")
    await report("--repair")
    expect(Buffer.compare(app.read("database"), wanted)).toBe(0)
  })

  test.each([
    ["of which the log has both", true],
    ["of which the log has the first", false],
  ])("two commits of a WAL with the same checksum, %s", async (_, hasBoth) => {
    const app = data.database("app.db", 3, "wal")
    const content = (digit: number) => `replace(hex(zeroblob(200)), '0', '${digit}')`
    app.commit(`CREATE TABLE e(a); INSERT INTO e VALUES(${content(1)}), (${content(1)})`)
    app.commit("INSERT INTO t(a) VALUES(1)")
    let wanted = app.sqlite.database.serialize()
    app.sqlite.run(`UPDATE e SET a = ${content(2)}`)
    if (hasBoth) {
      app.capture()
      wanted = app.sqlite.database.serialize()
    }
    app.save()
    for (const txid of [1, 2, 3]) rmSync(app.ltxPath(txid)) // as the original does
    await report("--repair")
    expect(Buffer.compare(app.read("database"), wanted)).toBe(0)
  })

  test("a synced TXID beyond the log", async () => {
    const app = data.database("app.db", 2)
    writeFileSync(app.path("synced"), "0000000000000009\n")
    await expectRepaired(["synced-ahead"], ["synced"])
  })
})

describe("litefs doctor of the WAL", () => {
  test("is content when all is in LTX files", async () => {
    data.database("app.db", 4, "wal")
    const before = data.content
    const { code, report: given } = await report("--repair")
    expect(code).toBe(0)
    expect(findings(given).map(({ code }) => code)).toEqual(["wal-holds", "integrity-unknown"])
    expect(data.content).toEqual(before)
  })

  test.each([
    [1, "its 1 transaction has pages that the database file does not have yet; it is in LTX files"],
    [
      4,
      "its 4 transactions have pages that the database file does not have yet; all are in LTX files",
    ],
  ])("says what the WAL holds: %p", async (count, what) => {
    data.database("app.db", count, "wal")
    expect(findings((await report()).report)[0]?.what).toBe(what)
  })

  test("is content with a checkpointed WAL, and with frames that no commit follows", async () => {
    const app = data.database("app.db", 4, "wal")
    app.sqlite.run("PRAGMA wal_checkpoint(PASSIVE)")
    app.save()
    app.append("a part of a frame", "wal")
    const { code, report: given } = await report()
    expect({ code, findings: findings(given) }).toEqual({ code: 0, findings: [] })
  })

  test("finds commits that no LTX file has, and keeps them where SQLite can open them", async () => {
    const app = data.database("app.db", 4, "wal")
    app.sqlite.run("INSERT INTO t(a) VALUES('only in the WAL')")
    app.save()
    const given = await expectRepaired(["wal-unlogged"], ["database", "database-wal"])
    expect(findings(given)[0]?.what).toStartWith(
      "1 transaction after TXID 0000000000000004 is in the WAL",
    )

    const kept = [...data.content.keys()].find((path) => path.endsWith("database-wal")) ?? ""
    const path = join(data.root, kept.replace("-wal", ""))
    expect(statSync(path).ino).not.toBe(statSync(app.path("database")).ino)
    using sqlite = new Database(path)
    const rows = sqlite.query("SELECT a FROM t ORDER BY id DESC").values()
    expect(rows[0]).toEqual(["only in the WAL"])
  })

  test("brings pages into the database file that no LTX file has any more", async () => {
    const app = data.database("app.db", 4, "wal")
    for (const txid of [1, 2, 3]) rmSync(app.ltxPath(txid))
    await expectRepaired(["wal-needed"], ["database", "database-wal"])
    app.sqlite.run("PRAGMA wal_checkpoint(TRUNCATE)")
    expect(Buffer.compare(app.read("database"), app.sqlite.read())).toBe(0)
  })

  test("says so when it is of no use", async () => {
    const app = data.database("app.db", 1)
    writeFileSync(app.path("wal"), "no WAL")
    const { code, report: given } = await report()
    expect({ code, codes: findings(given).map(({ code }) => code) }).toEqual({
      code: 0,
      codes: ["wal-foreign"],
    })
  })
})

describe("litefs doctor of the data directory", () => {
  test("a path in the place of a DATABASE is a usage error, which says what it would be", async () => {
    data.database("app.db", 1)
    const usage = "ERROR: Cannot run litefs doctor: "
    expect(await litefs(data.root)).toEqual({
      ...{ code: 2, out: "" },
      err: `${usage}"DATA" is a directory, not the name of a database; the data directory is given as --data-dir DATA\n`,
    })
    expect(await litefs("/litefs/app.db")).toEqual({
      ...{ code: 2, out: "" },
      err: `${usage}"/litefs/app.db" is a path, it should be the name of a database, like app.db; the data directory is given as --data-dir DIR\n`,
    })
    expect((await litefs("app.db")).code).toBe(0)
  })

  test("files that do not belong there", async () => {
    const app = data.database("app.db", 1)
    writeFileSync(app.path("readme"), "put here by hand")
    writeFileSync(join(data.root, "dbs", "stray.db"), "put here by hand")
    await expectRepaired(["stray", "stray"], ["readme", "stray.db"])
  })

  test("what a kill leaves and the next start removes is no problem", async () => {
    const app = data.database("app.db", 1)
    const names = [
      ...["snapshot-3", "checksums.tmp", "synced.tmp", "next-5.ltx", "next-5.database"],
      ...["takeover.tmp", "ltx/0000000000000002-0000000000000002.ltx.receiving-3"],
    ]
    for (const name of names) writeFileSync(app.path(name), "half")
    const before = data.content
    const { code, report: given } = await report("--repair")
    expect(data.content).toEqual(before)
    const paths = findings(given).map(({ path }) => path)
    expect(paths.sort()).toEqual(names.map((name) => plain(app.path(name))).sort())
    for (const { severity, code, what } of findings(given)) {
      expect({ severity, code }).toEqual({ severity: "note", code: "stray" })
      expect(what).toEndWith("; the next start of LiteFS removes it")
    }
    expect(code).toBe(0)
    recoverDatabase("app.db", new DataDir(data.root), new RecordedLog().logger)
    for (const name of names) expect(existsSync(app.path(name))).toBe(false)
  })

  test("leaves a snapshot that was taking over to the next start", async () => {
    const app = data.database("app.db", 3)
    const other = data.database("other.db", 1)
    writeFileSync(app.path("next-5.ltx"), readFileSync(other.ltxPath(1)))
    writeFileSync(app.path("next-5.database"), readFileSync(other.path("database")))
    const takeover = { number: 5, minTxid: 1n, maxTxid: 1n, commit: 2, kept: undefined }
    beginTakeover(new DataDir(data.root), "app.db", takeover)
    const before = data.content
    const { code, report: given } = await report("--repair")
    expect({ code, codes: findings(given).map(({ code }) => code) }).toEqual({
      code: 0,
      codes: ["takeover-pending"],
    })
    expect(data.content).toEqual(before)
  })

  test("says that the record of a takeover is damaged, of any size", async () => {
    const app = data.database("app.db", 3)
    const directory = new DataDir(data.root)
    const line = /^Cannot read "[^\n]+takeover": [^\n]+$/
    for (const text of ["", "null", "{}", "\u0000garbage", undefined]) {
      writeFileSync(app.path("takeover"), text ?? "")
      if (text === undefined) truncateSync(app.path("takeover"), 8 * 1024 ** 3)
      const { code, report: given } = await report()
      expect({ code, codes: findings(given).map(({ code }) => code) }).toEqual({
        code: 1,
        codes: ["takeover-unreadable"],
      })
      const start = () => recoverDatabase("app.db", directory, new RecordedLog().logger)
      expect(start).toThrow(line)
      expect(start).toThrow(LitefsError)
    }
  })

  test("allocates nothing on the word of a sparse file", async () => {
    const size = 8 * 1024 ** 3
    const app = data.database("app.db", 3)
    for (const name of ["synced", "checksums", "sums", "written"]) {
      writeFileSync(app.path(name), "")
      truncateSync(app.path(name), size)
    }
    expect((await report()).code).toBe(0)
    expect(
      recoverDatabase("app.db", new DataDir(data.root), new RecordedLog().logger).pos.txid,
    ).toBe(3n)
    for (const name of ["lease.json", "clusterid"]) {
      const path = join(data.root, name)
      writeFileSync(path, "")
      truncateSync(path, size)
      const read = () =>
        name === "clusterid" ? new ClusterId(path) : new StaticLease(path, () => 1n)
      expect(read).toThrow(`Cannot read "${path}": it has over 1048576 bytes, it should have less`)
    }
  })

  test("is content with what a running LiteFS leaves there", async () => {
    const app = data.database("app.db", 1)
    writeFileSync(app.path("past"), "")
    expect((await report()).code).toBe(0)
  })

  test("is content with what LiteFS v0.5 set aside", async () => {
    const app = data.database("app.db", 1)
    writeFileSync(app.path("wal.removed"), "old")
    expect((await report()).code).toBe(0)
  })
})

describe("litefs doctor of the commit log", () => {
  /** The commit log of the directory holds these LTX files of a database, as after a kill. */
  function logged(name: string, files: readonly Uint8Array[], firstTxid: number): void {
    const log = new CommitLog({
      ...{ root: data.root, nextSequence: 1n, isFree: () => true, onFull() {} },
    })
    for (const [index, bytes] of files.entries()) {
      const txid = BigInt(firstTxid + index)
      const writer = log.begin(name, txid, join(data.root, `made-${txid}`))
      writer.append(bytes)
      writer.commit()
    }
    log.close()
    for (const [index] of files.entries())
      rmSync(join(data.root, `made-${firstTxid + index}`), { force: true })
  }

  test("transactions whose LTX files a power cut has taken", async () => {
    const app = data.database("app.db", 4)
    logged("app.db", [app.read("ltx", ltxName(4))], 4)
    rmSync(app.ltxPath(4))
    await expectRepaired(["log-pending"], [])
    expect(existsSync(app.ltxPath(4))).toBe(true)
  })

  test("the same, and a file or a directory is in the place of what is missing", async () => {
    const app = data.database("app.db", 4)
    logged("app.db", [app.read("ltx", ltxName(4))], 4)
    rmSync(app.ltxPath(4))
    mkdirSync(app.ltxPath(4))
    // One repair: what it moves away lets it see what else there is.
    await expectRepaired(["wrong-kind"], [])
    expect(statSync(app.ltxPath(4)).isFile()).toBe(true)
  })

  test("transactions of another history than the LTX files", async () => {
    const lost = data.database("lost.db", 6)
    const app = data.database("app.db", 2)
    logged(
      "app.db",
      [5, 6].map((txid) => lost.read("ltx", ltxName(txid))),
      5,
    )
    const found = await expectRepaired(["log-foreign"], [])
    const what = findings(found).find(({ code }) => code === "log-foreign")?.what
    expect(what).toBe(
      "it holds 2 transactions that do not follow on the LTX files: from 0000000000000004/CHECKSUM to 0000000000000006/CHECKSUM, while the files end at 0000000000000002/CHECKSUM; the next start of LiteFS sets them aside",
    )
    expect(existsSync(app.ltxPath(3))).toBe(false)
    const kept = [...data.content.keys()].filter((path) => path.includes("commit-log.removed-"))
    expect(kept.map((path) => path.split("/").at(-1))).toEqual([ltxName(5), ltxName(6)])
  })

  function ltxName(txid: number): string {
    return formatLtxFileName(BigInt(txid), BigInt(txid))
  }
})

/** As another user, or in a mount namespace of its own: both need root. */
describe.skipIf(process.getuid?.() !== 0)("litefs doctor where it may not write", () => {
  const doctor = (...before: string[]) => {
    const program = [process.execPath, join(import.meta.dirname, "../../src/main.ts"), "doctor"]
    const words = [...before, ...program, "--data-dir", data.root]
    const { status, stdout, stderr } = spawnSync(words[0] as string, words.slice(1), { cwd: "/" })
    return { status, out: plain(String(stdout)), err: plain(String(stderr)) }
  }
  const asNobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
  // Other users may not be able to enter the directory of the project.
  const [setpriv = "", ...toNobody] = [...asNobody, "test", "-r", import.meta.path]
  const testAsNobody = test.skipIf(spawnSync(setpriv, toNobody, { cwd: "/" }).status !== 0)

  testAsNobody("reports a directory of a database that this user may not write to", () => {
    data.database("app.db", 3)
    spawnSync("sh", ["-c", `chown -R 65534:65534 ${data.root}; chmod 500 ${data.root}/dbs/app.db`])
    const { status, out } = doctor(...asNobody)
    expect(status).toBe(1)
    expect(out).toContain("problem with DATA/dbs/app.db\n    this user may not write to it")
    expect(out).not.toContain("healthy")
  })

  testAsNobody("says that permission is denied", () => {
    data.database("app.db", 3)
    spawnSync("chmod", ["700", data.root])
    expect(doctor(...asNobody)).toMatchObject({
      status: 1,
      err: 'ERROR: Cannot examine "DATA": permission denied, run it as the user of LiteFS, or as root\n',
    })
  })

  test("examines a read-only file system, and says that it has no lock", () => {
    data.database("app.db", 3)
    writeFileSync(join(data.root, "lock"), "")
    const mount = `mount --bind ${data.root} ${data.root} && mount -o remount,ro,bind ${data.root} && exec "$@"`
    const { status, out, err } = doctor("unshare", "-m", "sh", "-c", mount, "sh")
    expect({ status, err }).toEqual({ status: 0, err: "" })
    expect(out).toContain("note with DATA\n    its file system is read-only")
    expect(out).toContain("healthy")
  })
})

describe("doctor: who the node is", () => {
  const CLUSTER = "LFSC0123456789ABCDEF"
  const paths = () => {
    const { leasePath, clusterIdPath, clusterKeyPath } = new DataDir(data.root)
    return { leasePath, clusterIdPath, clusterKeyPath }
  }

  /** As a node leaves it that has been in a cluster. */
  function withIdentity(): ReturnType<typeof paths> {
    mkdirSync(join(data.root, "dbs"), { recursive: true })
    const found = paths()
    const lease = new StaticLease(found.leasePath, () => 7n)
    lease.setCluster(CLUSTER)
    writeFileSync(found.clusterIdPath, `${CLUSTER}\n`)
    writeFileSync(found.clusterKeyPath, `${"ab".repeat(32)}\n`)
    return found
  }

  test("nothing is said of what is whole, or missing", async () => {
    withIdentity()
    expect((await litefs()).out).toBe("no databases\n")
    for (const path of Object.values(paths())) rmSync(path)
    expect(await litefs()).toMatchObject({ code: 0, out: "no databases\n" })
  })

  test("a cluster id that cannot be read is made again from its copy, and kept", async () => {
    const { clusterIdPath } = withIdentity()
    writeFileSync(clusterIdPath, "LFSC???\n")
    const { code, out } = await litefs()
    expect(code).toBe(1)
    expect(out).toContain("it holds no cluster id, and LiteFS does not start with it")
    expect(out).toContain("--repair makes it again from the copy in lease.json")
    expect(await litefs("--repair")).toMatchObject({ code: 0 })
    expect(readFileSync(clusterIdPath, "utf8")).toBe(`${CLUSTER}\n`)
    expect(await litefs()).toMatchObject({ code: 0 })
  })

  test("without a copy, and for a lease record, it says what can be done, and changes nothing", async () => {
    const { clusterIdPath, leasePath, clusterKeyPath } = withIdentity()
    for (const path of [clusterIdPath, leasePath, clusterKeyPath]) writeFileSync(path, "{}\n")
    const { code, out } = await litefs("--repair")
    expect(code).toBe(1)
    expect(out).toContain("copy the file clusterid from the data directory of another node")
    expect(out).toContain("it is not a lease record")
    expect(out).toContain("note with DATA/clusterkey")
    expect(out).toContain("None of this can be repaired here.")
    for (const path of [clusterIdPath, leasePath, clusterKeyPath])
      expect(readFileSync(path, "utf8")).toBe("{}\n")
  })
})
