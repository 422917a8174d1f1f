import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { execFileSync } from "node:child_process"
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { basename, join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { completeKept, keepHistory } from "../../src/diverged/kept-history.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { readLtxFile } from "../../src/store/ltx/ltx-file.ts"
import { integrityProblems } from "../../src/sys/bun/sqlite.ts"
import { withByte } from "../support/bytes.ts"
import { start } from "../support/client.ts"
import {
  type DatabaseFixture,
  DataDirectory,
  FIXTURE_PAGE_SIZE,
} from "../support/data-directory.ts"
import { FakeIo } from "../support/fake-io.ts"
import { PROGRAM } from "../support/node.ts"

let data: DataDirectory
let app: DatabaseFixture
let name: string

beforeEach(() => {
  data = new DataDirectory()
  app = data.database("app.db", 3)
  keep(3)
})

function keep(txid: number): void {
  const { header, trailer } = readLtxFile(app.ltxPath(txid))
  const pos = { txid: BigInt(txid), checksum: trailer.postApplyChecksum }
  const facts = {
    database: "app.db",
    pos,
    pageSize: header.pageSize,
    commit: header.commit,
    keptMs: Date.UTC(2026, 10, 23, 6, 41, 5),
    reason: "it is ahead of the primary",
    primary: { name: "node-1", pos: { txid: 2n, checksum: 1n << 63n } },
  }
  const dataDir = new DataDir(data.root)
  name = keepHistory(dataDir, facts).label
  completeKept(dataDir, name)
}

afterEach(() => data[Symbol.dispose]())

async function litefs(...args: string[]) {
  const io = new FakeIo()
  const code = await run(["diverged", ...args], io)
  const plain = (text: string) =>
    text.replaceAll(data.root, "DATA").replace(/\b[89a-f][0-9a-f]{15}\b/g, "CHECKSUM")
  return { code, out: plain(io.out), err: plain(io.err) }
}

const inData = () => ["--data-dir", data.root]

describe("litefs diverged list", () => {
  test("prints a line for each history", async () => {
    const { code, out, err } = await litefs("list", ...inData())
    expect({ code, err }).toEqual({ code: 0, err: "" })
    expect(out.replace(/\d+(\.\d)? KiB/, "SIZE")).toMatchInlineSnapshot(`
      "NAME                                                               DATABASE  POSITION                           KEPT                         SIZE  REASON
      2026-11-23T06-41-05.000Z-app.db-0000000000000003-CHECKSUM  app.db    0000000000000003/CHECKSUM  2026-11-23T06:41:05.000Z  SIZE  it is ahead of the primary
      "
    `)
  })

  test("prints the facts as JSON", async () => {
    const { out } = await litefs("list", "--json", ...inData())
    expect(JSON.parse(out)).toEqual({
      histories: [
        {
          name: name.replace(/[0-9a-f]{16}$/, "CHECKSUM"),
          directory: expect.stringMatching(/^DATA\/diverged\/2026-11-23T06-41-05.000Z-app.db-/),
          size: expect.any(Number),
          database: "app.db",
          pos: "0000000000000003/CHECKSUM",
          pageSize: 512,
          commit: expect.any(Number),
          time: "2026-11-23T06:41:05.000Z",
          reason: "it is ahead of the primary",
          primary: { name: "node-1", pos: "0000000000000002/CHECKSUM" },
        },
      ],
      unreadable: [],
    })
  })

  test("shows a history whose LTX files somebody has removed", async () => {
    rmSync(join(data.root, "diverged", name, "ltx"), { recursive: true })
    const { code, out } = await litefs("list", ...inData())
    expect({ code, lines: out.split("\n").length }).toEqual({ code: 0, lines: 3 })
  })

  test.each([
    ["pageSize", 0],
    ["pageSize", 1000],
    ["commit", -1],
    ["commit", 2 ** 33],
    ["database", ["app.db"]],
  ])("takes a history.json whose %s is %p for none", async (key, value) => {
    const path = join(data.root, "diverged", name, "history.json")
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), [key]: value }))
    const { code, out, err } = await litefs("list", ...inData())
    expect({ code, out }).toEqual({ code: 0, out: "nothing is kept\n" })
    expect(err).toContain("has no history.json that could be read")
  })

  test("says when there is nothing, and what it cannot read", async () => {
    rmSync(join(data.root, "diverged", name, "history.json"))
    const { code, out, err } = await litefs("list", ...inData())
    expect({ code, out }).toEqual({ code: 0, out: "nothing is kept\n" })
    expect(err).toContain("has no history.json that could be read")
    const missing = await litefs("list", "--data-dir", `${data.root}/nowhere`)
    expect(missing.code).toBe(1)
    expect(missing.err).toContain(
      'Cannot read data directory "DATA/nowhere": it does not exist, give the data directory of a node with --data-dir',
    )
    const other = await litefs("list", "--data-dir", `${data.root}/dbs`)
    expect(other.code).toBe(1)
    expect(other.err).toContain(
      'Cannot read data directory "DATA/dbs": it has no "dbs", give the data directory of a node with --data-dir',
    )
  })
})

describe("litefs diverged export", () => {
  test.each([undefined, 1, 2])(
    "writes the whole database, also of a file that has only TXID %p",
    async (txid) => {
      const wanted = readFileSync(app.path("database"))
      const kept = join(data.root, "diverged", name)
      if (txid !== undefined) {
        rmSync(join(kept, "database"))
        const earlier = data.database("earlier.db", txid)
        writeFileSync(join(kept, "database"), readFileSync(earlier.path("database")))
        writeFileSync(join(kept, "synced"), `${"0".repeat(15)}${txid}\n`)
      }
      const output = join(data.root, "out.db")
      const { code, out } = await litefs("export", ...inData(), name, output)
      expect(out).toMatch(/^DATA\/out.db {2}app.db at 0{15}3\/CHECKSUM, \d pages of 512 bytes\n$/)
      expect(code).toBe(0)
      expect(Buffer.compare(readFileSync(output), wanted)).toBe(0)
      expect(integrityProblems(output, 10)).toEqual([])
    },
  )

  /** A history of two more pages that a second transaction has changed alike, and whose file has the first. */
  function keepEqualChange(): Uint8Array {
    const image = app.read("database")
    const pages = (byte: number) => new Uint8Array(2 * FIXTURE_PAGE_SIZE).fill(byte)
    app.capture(Buffer.concat([image, pages(1)]))
    writeFileSync(app.path("database"), Buffer.concat([image, pages(1)]))
    writeFileSync(app.path("synced"), "0000000000000004\n")
    app.capture(Buffer.concat([image, pages(2)]))
    const [before, after] = [4, 5].map((txid) => readLtxFile(app.ltxPath(txid)))
    expect(after?.trailer.postApplyChecksum).toBe(before?.trailer.postApplyChecksum as bigint)
    keep(5)
    return Buffer.concat([image, pages(2)])
  }

  test("replays what is not in the file, also when the checksum does not tell", async () => {
    const wanted = keepEqualChange()
    const output = join(data.root, "out.db")
    expect((await litefs("export", ...inData(), name, output)).code).toBe(0)
    expect(Buffer.compare(readFileSync(output), wanted)).toBe(0)
  })

  test("replays no transaction after the position, which was refused", async () => {
    keep(3)
    const wanted = readFileSync(app.path("database"))
    app.commit("INSERT INTO t(a) VALUES('refused')")
    const kept = join(data.root, "diverged", name, "ltx", basename(app.ltxPath(4)))
    writeFileSync(kept, readFileSync(app.ltxPath(4)))
    const output = join(data.root, "out.db")
    expect((await litefs("export", ...inData(), name, output)).code).toBe(0)
    expect(Buffer.compare(readFileSync(output), wanted)).toBe(0)
  })

  test("does without a log that is damaged when the file sums to the position", async () => {
    const kept = join(data.root, "diverged", name)
    const path = join(kept, "ltx", basename(app.ltxPath(2)))
    const bytes = readFileSync(path)
    rmSync(path)
    writeFileSync(path, withByte(bytes, 150, 0xff ^ (bytes[150] as number)))
    const output = join(data.root, "out.db")
    expect((await litefs("export", ...inData(), name, output)).code).toBe(0)
    expect(Buffer.compare(readFileSync(output), readFileSync(app.path("database")))).toBe(0)
  })

  test("takes the beginning of a name, if it is the only one", async () => {
    const output = join(data.root, "out.db")
    expect((await litefs("export", ...inData(), "2026-11", output)).code).toBe(0)
    const other = await litefs("export", ...inData(), "2027", output)
    expect(other.err).toContain('Cannot export "2027": no history of that name is kept')
    expect(other.code).toBe(1)
  })

  test("writes the LTX files with --ltx", async () => {
    const output = join(data.root, "out")
    const { out } = await litefs("export", "--ltx", ...inData(), name, output)
    expect(out).toContain("3 LTX files")
    expect(readdirSync(output).sort()).toEqual(readdirSync(join(app.path("ltx"))).sort())
  })

  test.each([false, true])("never writes over what is there (--ltx: %p)", async (asLtx) => {
    const output = join(data.root, "out")
    if (asLtx) mkdirSync(output)
    else writeFileSync(output, "mine")
    const flags = asLtx ? ["--ltx"] : []
    const { code, err } = await litefs("export", ...flags, ...inData(), name, output)
    expect(code).toBe(1)
    expect(err).toContain('Cannot write "DATA/out": it exists')
    if (!asLtx) expect(readFileSync(output, "utf8")).toBe("mine")
  })

  test("refuses what does not sum to its position, and writes nothing", async () => {
    const output = join(data.root, "out.db")
    const kept = join(data.root, "diverged", name)
    writeFileSync(join(kept, "synced"), `${"0".repeat(15)}3\n`)
    truncateSync(join(kept, "database"), 512)
    const { code, err } = await litefs("export", ...inData(), name, output)
    expect(code).toBe(1)
    expect(err).toContain("do not sum to CHECKSUM")
    expect(existsSync(output)).toBe(false)
  })

  test.each(["ltx", "database"])(
    "waits for no named pipe in the place of a file: %s",
    async (what) => {
      const directory = join(data.root, "diverged", name)
      const [first = ""] = readdirSync(join(directory, "ltx"))
      const path = what === "ltx" ? join(directory, "ltx", first) : join(directory, what)
      rmSync(path)
      execFileSync("mkfifo", [path])
      const output = join(data.root, "out")
      const words = ["export", name, output, ...(what === "ltx" ? ["--ltx"] : []), ...inData()]
      const { code, stderr } = await start(["timeout", "20", ...PROGRAM, "diverged", ...words])
        .ended
      const problem = `ERROR: Cannot open "${path}": it is a named pipe, it should be a file\n`
      expect([code, stderr]).toEqual([1, problem])
      expect(existsSync(output)).toBe(false)
    },
  )

  test("needs a name and a file", async () => {
    expect((await litefs("export", ...inData(), name)).code).toBe(2)
    expect((await litefs("lsit")).err).toContain("did you mean list?")
  })
})
