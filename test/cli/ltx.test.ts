import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { type DatabaseFixture, DataDirectory } from "../support/data-directory.ts"
import { FakeIo } from "../support/fake-io.ts"
import { ltxFile, page } from "../support/ltx-file.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

let data: DataDirectory
let app: DatabaseFixture

beforeEach(() => {
  data = new DataDirectory()
  app = data.database("app.db", 4)
})
afterEach(() => data[Symbol.dispose]())

async function litefs(...args: string[]) {
  const io = new FakeIo()
  const code = await run(args, io)
  return { code, out: plain(io.out), err: plain(io.err) }
}

/** Without what differs from run to run: the directory and checksums. */
function plain(text: string): string {
  return text.replaceAll(data.root, "DATA").replace(/\b[89a-f][0-9a-f]{15}\b/g, "CHECKSUM")
}

async function json(...args: string[]) {
  const { code, out } = await litefs(...args)
  return { code, document: JSON.parse(out) }
}

describe("litefs ltx list", () => {
  test.each(["list", "verify"])(
    "and %s say that a data directory has no databases",
    async (command) => {
      using directory = new TemporaryDirectory()
      mkdirSync(join(directory.path, "dbs"))
      const found = await litefs("ltx", command, directory.path)
      expect(found).toEqual({ code: 0, out: "no databases\n", err: "" })
    },
  )

  test("prints a line for each file, under the name of the database", async () => {
    const { code, out, err } = await litefs("ltx", "list", data.root)
    expect({ code, err }).toEqual({ code: 0, err: "" })
    expect(out.replace(/\d+(\.\d)? B/g, "SIZE")).toMatchInlineSnapshot(`
      "app.db in DATA/dbs/app.db/ltx
      FROM TXID         POSITION AFTER                     PAGES  COMMIT  PAGE SIZE     SIZE  TIME
      0000000000000001  0000000000000001/CHECKSUM      2       2        512    SIZE  2026-11-23T01:10:53.554Z
      0000000000000002  0000000000000002/CHECKSUM      4       4        512  1.2 KiB  2026-11-23T01:10:53.554Z
      0000000000000003  0000000000000003/CHECKSUM      3       5        512  1.2 KiB  2026-11-23T01:10:53.554Z
      0000000000000004  0000000000000004/CHECKSUM      3       6        512  1.2 KiB  2026-11-23T01:10:53.554Z
      "
    `)
  })

  test.each(["", "dbs/app.db", "dbs/app.db/ltx"])("takes a directory: %j", async (path) => {
    const all = await litefs("ltx", "list", join(data.root, path))
    expect(all).toEqual(await litefs("ltx", "list", data.root))
  })

  test("names each database of a data directory", async () => {
    data.database("other.db", 1)
    const { out } = await litefs("ltx", "list", data.root)
    expect(out).toContain("app.db in DATA/dbs/app.db/ltx\n")
    expect(out).toContain("\n\nother.db in DATA/dbs/other.db/ltx\n")
  })

  test("is one JSON document with --json", async () => {
    const { code, document } = await json("ltx", "list", "--json", app.ltxPath(2))
    expect(code).toBe(0)
    expect(document.groups).toHaveLength(1)
    expect(document.groups[0]).toMatchObject({
      database: null,
      directory: null,
      files: [
        {
          path: "DATA/dbs/app.db/ltx/0000000000000002-0000000000000002.ltx",
          minTxid: "0000000000000002",
          maxTxid: "0000000000000002",
          pageSize: 512,
          pageCount: expect.any(Number),
          pos: "0000000000000002/CHECKSUM",
          timestamp: "2026-11-23T01:10:53.554Z",
        },
      ],
    })
  })

  test("shows a damaged file as such, and exits with 1", async () => {
    truncateSync(app.ltxPath(4), 150)
    const { code, out } = await litefs("ltx", "list", data.root)
    expect(code).toBe(1)
    expect(out).toContain("150 B  DAMAGED: it ends inside its pages\n")
  })
})

describe("litefs ltx dump", () => {
  beforeEach(() => {
    const pages = [page(1, 1), page(2, 2), page(4, 4)]
    const header = { minTxid: 5n, maxTxid: 7n, commit: 9, walOffset: 32, walSize: 536, walSalt1: 1 }
    writeFileSync(join(data.root, "x.ltx"), ltxFile({ header, pages }))
  })

  test("prints header, page numbers and trailer", async () => {
    const { code, out } = await litefs("ltx", "dump", join(data.root, "x.ltx"))
    expect(code).toBe(0)
    expect(out).toMatchInlineSnapshot(`
      "DATA/x.ltx  194 B
        TXID         0000000000000005 to 0000000000000007
        time         2026-11-23T01:10:53.554Z
        page size    512, compressed
        commit       9 pages
        checksum     CHECKSUM before
        WAL          536 bytes at 32, salts 00000001 00000000
        node         CHECKSUM
        pages        1-2 4
        page count   3
        position     0000000000000007/CHECKSUM after
        file sum     CHECKSUM
      "
    `)
  })

  test("prints a line for each page with --pages", async () => {
    const { out } = await litefs("ltx", "dump", "--pages", join(data.root, "x.ltx"))
    expect(out.match(/^ {2}page \d+ {2}CHECKSUM$/gm)).toEqual([
      "  page 1  CHECKSUM",
      "  page 2  CHECKSUM",
      "  page 4  CHECKSUM",
    ])
  })

  test("is one JSON document with --json", async () => {
    const paths = [join(data.root, "x.ltx"), app.ltxPath(1)]
    const { code, document } = await json("ltx", "dump", "--json", "--pages", ...paths)
    expect(code).toBe(0)
    expect(document.files).toHaveLength(2)
    expect(document.files[0]).toMatchObject({
      commit: 9,
      walSalt1: "00000001",
      pages: [1, 2, 4].map((pgno) => ({ pgno, checksum: "CHECKSUM" })),
      pageCount: 3,
      postApplyChecksum: "CHECKSUM",
    })
    const short = await json("ltx", "dump", "--json", ...paths)
    expect(short.document.files[0]).toMatchObject({ pageCount: 3 })
    expect(short.document.files[0].pages).toBeUndefined()
  })

  test("prints what it has read of a damaged file, and why it stops", async () => {
    app.flip(110, "ltx", "0000000000000002-0000000000000002.ltx")
    const { code, out } = await litefs("ltx", "dump", app.ltxPath(2), app.ltxPath(1))
    expect(code).toBe(1)
    expect(out).toMatch(/ {2}DAMAGED: its LZ4 frame is damaged: .*\n\nDATA/)
    const { document } = await json("ltx", "dump", "--json", "--pages", app.ltxPath(2))
    expect(document.files[0].problem).toStartWith("its LZ4 frame is damaged: ")
    expect(document.files[0].minTxid).toBe("0000000000000002")
  })
})

describe("litefs ltx verify", () => {
  test("says that a history is whole", async () => {
    expect(await litefs("ltx", "verify", data.root)).toEqual({
      code: 0,
      out: "app.db in DATA/dbs/app.db/ltx  0000000000000004/CHECKSUM  4 files: whole\n",
      err: "",
    })
  })

  test.each<[string, () => void, string]>([
    [
      "a damaged file",
      () => truncateSync(app.ltxPath(2), 50),
      "0000000000000002-0000000000000002.ltx is damaged: it ends inside its header",
    ],
    [
      "a missing file",
      () => rmSync(app.ltxPath(2)),
      "0000000000000002-0000000000000002.ltx is missing before 0000000000000003-0000000000000003.ltx",
    ],
    [
      "missing files",
      () => [2, 3].map((txid) => rmSync(app.ltxPath(txid))),
      "TXIDs 0000000000000002 to 0000000000000003 are missing before 0000000000000004-0000000000000004.ltx",
    ],
    [
      "a file of another history",
      () => writeFileSync(app.ltxPath(3), ltxFile({ header: { minTxid: 3n } })),
      "0000000000000003-0000000000000003.ltx starts at checksum CHECKSUM, but 0000000000000002-0000000000000002.ltx ends at CHECKSUM",
    ],
    [
      "a file with a wrong name",
      () => writeFileSync(app.ltxPath(3), readFileSync(app.ltxPath(2))),
      "0000000000000003-0000000000000003.ltx is damaged: its header is that of 0000000000000002-0000000000000002.ltx",
    ],
  ])("finds %s", async (_, damage, sentence) => {
    damage()
    const { code, out } = await litefs("ltx", "verify", data.root)
    expect(code).toBe(1)
    expect(out.split("\n")[1]).toBe(`  ${sentence}`)
  })

  test("is one JSON document with --json", async () => {
    rmSync(app.ltxPath(2))
    const { code, document } = await json("ltx", "verify", "--json", data.root)
    expect(code).toBe(1)
    expect(document).toEqual({
      ok: false,
      groups: [
        {
          database: "app.db",
          directory: "DATA/dbs/app.db/ltx",
          fileCount: 3,
          pos: "0000000000000004/CHECKSUM",
          problems: [
            {
              file: "DATA/dbs/app.db/ltx/0000000000000003-0000000000000003.ltx",
              code: "gap",
              problem:
                "0000000000000002-0000000000000002.ltx is missing before 0000000000000003-0000000000000003.ltx",
            },
          ],
        },
      ],
    })
  })

  test("does not ask files that are named one by one to follow on each other", async () => {
    expect((await litefs("ltx", "verify", app.ltxPath(3), app.ltxPath(1))).code).toBe(0)
  })

  test("names a file that is given alone", async () => {
    const { out } = await litefs("ltx", "verify", app.ltxPath(1))
    expect(out).toBe("DATA/dbs/app.db/ltx/0000000000000001-0000000000000001.ltx  1 file: whole\n")
  })

  test("is content with a history that starts late, and with files that a snapshot covers", async () => {
    const snapshot = join(data.root, "snapshot.ltx")
    await litefs(
      "ltx",
      "compact",
      "--output",
      snapshot,
      app.ltxPath(1),
      app.ltxPath(2),
      app.ltxPath(3),
    )
    rmSync(app.ltxPath(1))
    expect((await litefs("ltx", "verify", data.root)).code).toBe(0)
    const name = "0000000000000001-0000000000000003.ltx"
    writeFileSync(app.path("ltx", name), readFileSync(snapshot))
    expect((await litefs("ltx", "verify", data.root)).code).toBe(0)
  })
})

describe("litefs ltx apply", () => {
  let output: string
  beforeEach(() => {
    output = join(data.root, "new.db")
  })

  test("makes the database", async () => {
    const { code, out } = await litefs("ltx", "apply", "--output", output, app.directory)
    expect(code).toBe(0)
    expect(out).toMatch(
      /^DATA\/new\.db {2}0000000000000004\/CHECKSUM {2}\d+ pages of 512 bytes, from 4 LTX files\n$/,
    )
    expect(readFileSync(output).equals(app.read("database"))).toBe(true)
    expect(readdirSync(data.root).sort()).toEqual(["dbs", "new.db"])
  })

  test("sorts files, and stops at the last one given", async () => {
    const files = [3, 1, 2].map((txid) => app.ltxPath(txid))
    const { code, document } = await json("ltx", "apply", "--json", "--output", output, ...files)
    expect(code).toBe(0)
    expect(document).toMatchObject({
      pos: "0000000000000003/CHECKSUM",
      pageSize: 512,
      fileCount: 3,
    })
  })

  test.each(["3", "0000000000000003"])("stops at the transaction %s", async (until) => {
    const args = ["--until", until, "--output", output, app.directory]
    expect((await json("ltx", "apply", "--json", ...args)).document).toMatchObject({
      pos: "0000000000000003/CHECKSUM",
      fileCount: 3,
    })
  })

  test("stops at a time, in any zone", async () => {
    const { document } = await json("ltx", "list", "--json", app.directory)
    const files = (document as { groups: { files: { timestamp: string }[] }[] }).groups[0]?.files
    const times = files?.map(({ timestamp }) => Date.parse(timestamp)) ?? []
    const until = times[1] as number
    const count = times.filter((time) => time <= until).length
    const zoned = new Date(until + 3_600_000).toISOString().replace("Z", "+01:00")
    const args = ["--until", zoned, "--output", output, app.directory]
    expect((await json("ltx", "apply", "--json", ...args)).document).toMatchObject({
      fileCount: count,
    })
  })

  test.each([
    ["9", "none of the files ends at TXID 0000000000000009"],
    ["1999-01-01 00:00Z", "the first of the files is of "],
  ])("has nothing until %s, and leaves nothing", async (until, problem) => {
    const args = ["--until", until, "--output", output, app.directory]
    const { code, err } = await litefs("ltx", "apply", ...args)
    expect({ code, err }).toMatchObject({ code: 1 })
    expect(err).toStartWith(`ERROR: Cannot apply LTX files until then: ${problem}`)
    expect(existsSync(output)).toBe(false)
  })

  test("does not stop inside a file", async () => {
    const compacted = join(data.root, "0000000000000001-0000000000000003.ltx")
    const files = [1, 2, 3].map((txid) => app.ltxPath(txid))
    await litefs("ltx", "compact", "--output", compacted, ...files)
    const args = ["--until", "2", "--output", output, compacted]
    const { code, err } = await litefs("ltx", "apply", ...args)
    expect(code).toBe(1)
    expect(err).toContain("the transactions 0000000000000001 to 0000000000000003 are one file, ")
  })

  test("follows a database that is deleted and made again", async () => {
    app.capture(new Uint8Array(0))
    app.capture()
    const { code } = await litefs("ltx", "apply", "--output", output, app.directory)
    expect(code).toBe(0)
    expect(readFileSync(output).equals(app.read("database"))).toBe(true)
  })

  test("follows a database that grows, shrinks and grows again", async () => {
    app.commit("UPDATE t SET a = hex(zeroblob(3000))")
    app.commit("DELETE FROM t")
    app.sqlite.run("VACUUM")
    app.capture()
    app.commit("INSERT INTO t(a) VALUES(hex(randomblob(2000)))")
    app.save()
    expect((await litefs("ltx", "apply", "--output", output, app.directory)).code).toBe(0)
    expect(readFileSync(output).equals(app.read("database"))).toBe(true)
  })

  test.each<[string, () => string[], string]>([
    [
      "a gap",
      () => [1, 2, 4].map((txid) => app.ltxPath(txid)),
      'Cannot apply "DATA/dbs/app.db/ltx/0000000000000004-0000000000000004.ltx": it follows on 0000000000000003/CHECKSUM, the database is at 0000000000000002/CHECKSUM',
    ],
    [
      "a beginning that is no snapshot",
      () => [app.ltxPath(2)],
      'Cannot apply "DATA/dbs/app.db/ltx/0000000000000002-0000000000000002.ltx": it starts at TXID 0000000000000002, the first file has to be a snapshot; retention may have removed what was before, --onto FILE begins with an exported database',
    ],
    [
      "a damaged file",
      () => {
        truncateSync(app.ltxPath(4), 150)
        return [app.directory]
      },
      'Cannot apply "DATA/dbs/app.db/ltx/0000000000000004-0000000000000004.ltx": it ends inside its pages',
    ],
    [
      "a wrong checksum of the database",
      () => {
        const header = { minTxid: 2n, preApplyChecksum: 0x8000000000000001n }
        const first = ltxFile({ pages: [page(1, 1)] })
        const pre = Buffer.from(first).readBigUInt64BE(first.length - 16)
        const second = ltxFile({
          header: { ...header, preApplyChecksum: pre },
          pages: [page(1, 2)],
        })
        const paths = ["a.ltx", "b.ltx"].map((name) => join(data.root, name))
        writeFileSync(paths[0] ?? "", first)
        writeFileSync(paths[1] ?? "", second)
        return paths
      },
      'Cannot apply "DATA/b.ltx": the database then sums to CHECKSUM, 8000000000001234 is expected',
    ],
    [
      "files of two databases",
      () => [data.database("b.db", 1).directory, app.directory],
      'Cannot apply LTX files: files of several histories are given, "DATA/dbs/b.db/ltx" and "DATA/dbs/app.db/ltx", give those of one database',
    ],
  ])("refuses %s, and leaves nothing", async (_, paths, message) => {
    const { code, err } = await litefs("ltx", "apply", "--output", output, ...paths())
    expect(err.replace("8000000000001234", "CHECKSUM")).toBe(
      `ERROR: ${message.replace("8000000000001234", "CHECKSUM")}\n`,
    )
    expect(code).toBeGreaterThan(0)
    expect(readdirSync(data.root).filter((name) => name.startsWith("new.db"))).toEqual([])
  })

  test("goes on from an exported database, when the first files are gone", async () => {
    const base = join(data.root, "base.db")
    await litefs("ltx", "apply", "--output", base, app.ltxPath(1), app.ltxPath(2))
    const before = readFileSync(base)
    rmSync(app.ltxPath(1)) // an older one than the export, 2, is left out
    const onto = ["--onto", base, "--output", output, app.directory]
    expect((await json("ltx", "apply", "--json", ...onto)).document).toMatchObject({
      pos: "0000000000000004/CHECKSUM",
      fileCount: 2,
    })
    expect(readFileSync(output).equals(app.read("database"))).toBe(true)
    expect(readFileSync(base).equals(before)).toBe(true)
  })

  test.each<[string, (base: string) => void, string]>([
    [
      "a database that is not as it was",
      (base) => writeFileSync(base, app.read("database").fill(7, 600, 601)),
      "none of the LTX files follows on it, its pages sum to CHECKSUM: it has to be an unchanged export, not newer than the files, and every file after it is needed",
    ],
    ["a file that is none", (base) => writeFileSync(base, "text"), "it is no database"],
  ])("does not begin with %s, and leaves nothing", async (_, write, problem) => {
    const base = join(data.root, "base.db")
    write(base)
    const args = ["--onto", base, "--output", output, app.directory]
    const { code, err } = await litefs("ltx", "apply", ...args)
    expect({ code, err }).toEqual({
      code: 1,
      err: `ERROR: Cannot apply onto "DATA/base.db": ${problem}\n`,
    })
    expect(existsSync(output)).toBe(false)
  })

  test.each(["apply", "compact"])("%s does not overwrite", async (command) => {
    writeFileSync(output, "mine")
    const { code, err } = await litefs("ltx", command, "--output", output, app.directory)
    expect(code).toBe(1)
    expect(err).toBe(
      'ERROR: Cannot write "DATA/new.db": it exists, remove it or choose another name\n',
    )
    expect(readFileSync(output, "utf8")).toBe("mine")
  })
})

describe("litefs ltx compact", () => {
  test("makes one file that does what all do", async () => {
    const output = join(data.root, "all.ltx")
    const { code, out } = await litefs("ltx", "compact", "--output", output, data.root)
    expect(code).toBe(0)
    expect(out).toMatch(
      /^DATA\/all\.ltx {2}0000000000000004\/CHECKSUM {2}\d+ pages, [\d.]+ K?i?B, from 4 LTX files\n$/,
    )
    const database = join(data.root, "new.db")
    await litefs("ltx", "apply", "--output", database, output)
    expect(readFileSync(database).equals(app.read("database"))).toBe(true)
  })

  test("takes more files than it opens at a time, and leaves no parts behind", async () => {
    const many = data.database("many.db", 150)
    const output = join(data.root, "all.ltx")
    const { code, document } = await json(
      "ltx",
      "compact",
      "--json",
      "--output",
      output,
      many.directory,
    )
    expect({ code, fileCount: document.fileCount }).toEqual({ code: 0, fileCount: 150 })
    expect(readdirSync(data.root).sort()).toEqual(["all.ltx", "dbs"])
    const database = join(data.root, "new.db")
    await litefs("ltx", "apply", "--output", database, output)
    expect(readFileSync(database).equals(many.read("database"))).toBe(true)
  })

  test("refuses a gap and leaves nothing", async () => {
    rmSync(app.ltxPath(2))
    const output = join(data.root, "all.ltx")
    const { code, err } = await litefs("ltx", "compact", "--output", output, app.directory)
    expect({ code, err }).toEqual({
      code: 1,
      err: "ERROR: Cannot compact LTX files: a file starts at TXID 0000000000000003, expected 0000000000000002\n",
    })
    expect(existsSync(output)).toBe(false)
    expect(readdirSync(data.root)).toEqual(["dbs"])
  })
})

describe("litefs ltx", () => {
  test.each<[string[], string]>([
    [[], "Cannot run litefs ltx: no command is given, see litefs ltx --help"],
    [["lst"], 'Cannot run litefs ltx: there is no command "lst", did you mean list?'],
    [["list"], "Cannot run litefs ltx list: no PATH is given, see litefs ltx list --help"],
    [["apply", "x"], "Cannot run litefs ltx apply: no --output FILE is given"],
    [
      ["apply", "--until", "2026-11-30T17:39:33", "--output", "y", "x"],
      'Cannot run litefs ltx apply: --until is "2026-11-30T17:39:33", it should be a TXID, or a time like 2026-11-30T17:39:33Z',
    ],
    [
      ["list", "--pages", "x"],
      "Cannot run litefs ltx list: there is no flag --pages, see litefs ltx list --help",
    ],
  ])("refuses %j", async (args, message) => {
    expect(await litefs("ltx", ...args)).toEqual({ code: 2, out: "", err: `ERROR: ${message}\n` })
  })

  test.each<[string, string]>([
    ["none", 'Cannot read "DATA/none": there is no such file or directory'],
    [
      "dbs",
      'Cannot read "DATA/dbs": it has neither LTX files nor "ltx" nor "dbs", give an LTX file, the directory of a database or a data directory',
    ],
  ])("says what is wrong with the path %s", async (path, message) => {
    const outcome = await litefs("ltx", "list", join(data.root, path))
    expect(outcome).toEqual({ code: 1, out: "", err: `ERROR: ${message}\n` })
  })

  test("has help", async () => {
    const { out } = await litefs("ltx", "list", "--help")
    expect(out).toMatchInlineSnapshot(`
      "The ltx command will look at LTX files, which hold one or more transactions
      each, and make databases and other LTX files from them. It needs no running node
      and changes none of the files it is given.

      The commands are:

      	list     one line for each file: its position, pages, size and time
      	dump     header, page numbers and trailer of each file
      	verify   check every file, and in a directory that each follows on the last
      	apply    replay files onto a new database file
      	compact  make one LTX file from several that follow on each other

      Usage:

      	litefs ltx list [--json] PATH...
      	litefs ltx dump [--json] [--pages] PATH...
      	litefs ltx verify [--json] PATH...
      	litefs ltx apply [--json] [--onto FILE] [--until TXID|TIME] --output DATABASE PATH...
      	litefs ltx compact [--json] --output FILE PATH...

      Flags:

      	--json             print one JSON document
      	--pages            with dump: a line for each page, with its checksum
      	--output FILE      with apply and compact: write this file, which must not exist
      	--onto FILE        with apply: begin with this database, which litefs export has written
      	--until TXID|TIME  with apply: stop there; a time is like 2026-11-30T17:39:33Z

      Every flag can be set in the environment too: --json is LITEFS_JSON.
      A flag on the command line wins.

      PATH is an LTX file or a directory: one of LTX files, the directory of a
      database (dbs/NAME), or a data directory, which stands for all its databases.
      Apply and compact take the files of one database. Apply needs all of them from
      the first on, which is a snapshot, or with --onto all since the export; a node
      keeps those of --retention. With --until TXID it stops after that transaction,
      with a time after the last one that was committed by then, by the clock of its
      primary: list prints both.

      The exit code is 0, 1 if a file is damaged or does not follow on the last, and
      2 if the command line is wrong.

      Examples:

      	# what happened to a database lately
      	litefs ltx list /var/lib/litefs/dbs/app.db

      	# which pages a transaction changed
      	litefs ltx dump --pages /var/lib/litefs/dbs/app.db/ltx/0000000000000002-0000000000000002.ltx

      	# check every database of a node, in a script
      	litefs ltx verify --json /var/lib/litefs | jq .ok

      	# the database as it was after its third transaction
      	litefs ltx apply --until 3 --output /tmp/app.db /var/lib/litefs/dbs/app.db

      	# from a backup, up to the last of the copied LTX files
      	litefs ltx apply --onto /backup/app.db --output /tmp/app.db /backup/app.ltx

      	# from a backup, to a point in time
      	litefs ltx apply --onto /backup/app.db --until 2026-11-30T17:39:33Z --output /tmp/app.db /backup/app.ltx

      	# one file for the archive
      	litefs ltx compact --output app.ltx /var/lib/litefs/dbs/app.db
      "
    `)
  })
})
