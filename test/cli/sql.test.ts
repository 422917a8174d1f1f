import { Database } from "bun:sqlite"
import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { FakeIo } from "../support/fake-io.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

let directory: TemporaryDirectory

beforeAll(() => {
  directory = new TemporaryDirectory()
  directory.write(".lag", "") // as in a mount
  using database = new Database(join(directory.path, "app.db"), { create: true })
  database.exec(`
    CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, data BLOB);
    INSERT INTO t VALUES (1, 'Ann', x'00ff'), (2, 'Bo' || char(10) || 'b', NULL);
    CREATE TABLE log(id)`)
})
afterAll(() => directory[Symbol.dispose]())

async function sql(args: string[], input?: string) {
  const io = new FakeIo({ LITEFS_FUSE_DIR: directory.path })
  if (input !== undefined) io.input = [Buffer.from(input)]
  const code = await run(["sql", ...args], io)
  return { code, out: Buffer.from(io.bytes).toString("latin1"), err: io.err }
}

/** In a database of its own. */
async function evaluated(format: string, query: string): Promise<string> {
  const { code, out, err } = await sql([format, "--create", "scratch.db", query])
  expect({ code, err }).toEqual({ code: 0, err: "" })
  return out
}

describe("litefs sql prints", () => {
  test("a table", async () => {
    expect((await sql(["app.db", "SELECT * FROM t"])).out).toMatchInlineSnapshot(`
      "id  name   data
      --  -----  -------
      1   Ann    x'00ff'
      2   Bo\\nb  NULL
      "
    `)
  })

  test("JSON, one array for each query", async () => {
    const { out } = await sql([
      "--json",
      "app.db",
      "SELECT * FROM t; SELECT 1 WHERE 0; DELETE FROM log",
    ])
    expect(out).toBe(
      '[{"id":1,"name":"Ann","data":"00ff"},\n{"id":2,"name":"Bo\\nb","data":null}]\n[]\n',
    )
  })

  test("the values only", async () => {
    const { out } = await sql(["--raw", "app.db", "SELECT * FROM t"])
    expect(out).toBe("1\tAnn\t\x00\xff\n2\tBo\nb\t\n")
  })

  test.each([
    ["9223372036854775807", "9223372036854775807"],
    ["-1", "-1"],
    ["1.0", "1.0"],
    ["1e300", "1e+300"],
    ["9e999", "9e999"],
    ["'a' || char(34) || 'b'", '"a\\"b"'],
  ])("%s in JSON as %s", async (expression, json) => {
    expect(await evaluated("--json", `SELECT ${expression} AS a`)).toBe(`[{"a":${json}}]\n`)
  })

  test("columns of the same name, and names that are numbers, as they are", async () => {
    expect(await evaluated("--raw", "SELECT 1 AS a, 2 AS a, 3 AS b")).toBe("1\t2\t3\n")
    expect(await evaluated("--raw", 'SELECT 5 AS "2", 6 AS "1"')).toBe("5\t6\n")
  })

  test("what does not fit into memory at once", async () => {
    const count = 200_000
    const query = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ${count}) SELECT i FROM n`
    const lines = (await evaluated("--raw", query)).split("\n")
    expect([lines.length, lines[0], lines.at(-2)]).toEqual([count + 1, "1", String(count)])
  })
})

describe("litefs sql runs", () => {
  test("several statements, from the standard input", async () => {
    const input =
      "-- a script\nBEGIN;\nINSERT INTO log VALUES (7);\nCOMMIT; SELECT id FROM log;\nDELETE FROM log;\n"
    expect(await sql(["--raw", "app.db"], input)).toEqual({ code: 0, out: "7\n", err: "" })
  })

  test("on a path", async () => {
    const path = join(directory.path, "app.db")
    expect((await sql(["--raw", path, "SELECT count(*) FROM t"])).out).toBe("2\n")
  })

  test("and makes a database only when it is told to", async () => {
    expect(await sql(["new.db", "SELECT 1"])).toEqual({
      code: 1,
      out: "",
      err: `ERROR: Cannot open "new.db": there is no such file in "${directory.path}", --create makes it\n`,
    })
    expect(existsSync(join(directory.path, "new.db"))).toBe(false)
    expect((await sql(["--create", "new.db", "CREATE TABLE a(b)"])).code).toBe(0)
    expect((await sql(["new.db", "INSERT INTO a VALUES (1)"])).code).toBe(0)
  })
})

describe("litefs sql fails", () => {
  test("at the first statement that fails, and what was open is rolled back", async () => {
    const input = "BEGIN;\nINSERT INTO log VALUES (1);\n\nINSERT INTO logg VALUES (2);\nCOMMIT;"
    expect(await sql(["app.db"], input)).toEqual({
      code: 1,
      out: "",
      err: "ERROR: Cannot run the statement in line 4: no such table: logg\n",
    })
    expect((await sql(["--raw", "app.db", "SELECT count(*) FROM log"])).out).toBe("0\n")
  })

  test("at what only the prompt knows", async () => {
    const { code, err } = await sql(["app.db", ".tables"])
    expect({ code, err }).toEqual({
      code: 1,
      err:
        'ERROR: Cannot run the statement in line 1: near ".": syntax error; ' +
        "what begins with a dot is for the prompt, without SQL\n",
    })
  })

  test("in the middle of a query", async () => {
    const { code, out, err } = await sql([
      "--raw",
      "app.db",
      "SELECT abs(column1) FROM (VALUES (1), (-9223372036854775808))",
    ])
    expect({ code, err }).toEqual({
      code: 1,
      err: "ERROR: Cannot run the statement in line 1: integer overflow\n",
    })
    expect(out).toBe("")
  })

  test("when a transaction stays open", async () => {
    const { code, err } = await sql(["app.db", "BEGIN; INSERT INTO log VALUES (1)"])
    expect({ code, err }).toEqual({
      code: 1,
      err: "ERROR: Cannot end: a transaction is open and was rolled back, the last statement should be COMMIT\n",
    })
    expect((await sql(["--raw", "app.db", "SELECT count(*) FROM log"])).out).toBe("0\n")
  })

  test("when it would write with --read-only", async () => {
    const { code, err } = await sql(["--read-only", "app.db", "DELETE FROM t"])
    expect({ code, err }).toEqual({
      code: 1,
      err: "ERROR: Cannot run the statement in line 1: attempt to write a readonly database\n",
    })
  })

  test("while another client holds the lock, after --busy-timeout", async () => {
    using other = new Database(join(directory.path, "app.db"))
    other.exec("BEGIN IMMEDIATE")
    const { code, err } = await sql(["--busy-timeout", "10ms", "app.db", "DELETE FROM log"])
    expect({ code, err }).toEqual({
      code: 1,
      err: "ERROR: Cannot run the statement in line 1: database is locked\n",
    })
  })

  test("on what is no database", async () => {
    directory.write("text.db", "This is not a database at all.\n".repeat(100))
    const { code, err } = await sql(["text.db", "SELECT * FROM t"])
    expect(code).toBe(1)
    expect(err).toContain("file is not a database")
  })

  test("without the mount, and says where it has looked and what mends it", async () => {
    const advice = "give where LiteFS is mounted with --fuse-dir"
    // Mounts of other nodes may follow, as examples.
    expect((await sql(["--fuse-dir", "/no/such", "a.db", "SELECT 1"])).err).toStartWith(
      `ERROR: Cannot open "a.db": there is no directory "/no/such", ${advice}`,
    )
    expect((await sql(["/no/such/a.db", "SELECT 1"])).err).toBe(
      'ERROR: Cannot open "/no/such/a.db": there is no directory "/no/such", is LiteFS mounted there?\n',
    )
    using other = new TemporaryDirectory()
    for (const words of [["a.db"], ["--create", "a.db"]]) {
      expect((await sql(["--fuse-dir", other.path, ...words, "SELECT 1"])).err).toStartWith(
        `ERROR: Cannot open "a.db": "${other.path}", where it was looked for, is not a mount of LiteFS, ${advice}`,
      )
    }
    expect(existsSync(join(other.path, "a.db"))).toBe(false)
  })

  test("when its reader goes away, as other programs do", async () => {
    const query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    const program = join(import.meta.dirname, "../../src/main.ts")
    const child = spawn(process.execPath, [
      program,
      "sql",
      "--raw",
      join(directory.path, "app.db"),
      query,
    ])
    await once(child.stdout, "data")
    child.stdout.destroy()
    expect((await once(child, "exit"))[0]).toBe(141)
  })

  test.each([
    [[], "no DB is given, see litefs sql --help"],
    [["a", "b", "c"], '"c" is one word too many, see litefs sql --help'],
    [["--json", "--raw", "a"], "both --json and --raw are given, give one of them"],
    [
      ["--busy-timeout", "soon", "a"],
      '--busy-timeout is "soon", it should be a duration, like 10s or 1h30m',
    ],
  ])("with words like %j", async (args, problem) => {
    expect(await sql(args)).toEqual({
      code: 2,
      out: "",
      err: `ERROR: Cannot run litefs sql: ${problem}\n`,
    })
  })
})
