/** What a user sees at a terminal: real nodes, a real terminal, real keys. */
import { describe, expect } from "bun:test"
import { readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { type NodeOptions, PROGRAM, Scope } from "../support/node.ts"
import { hasTerminals, Terminal } from "../support/terminal.ts"
import { until } from "../support/until.ts"

const CTRL_C = "\u0003"
const CTRL_D = "\u0004"
const ESC = "\u001b"

/** litefs mount at a terminal, with directories of its own. */
function mount(scope: Scope, name: string, words: readonly string[], columns = 80): Terminal {
  const directories = [
    "--fuse-dir",
    join(scope.directory, name),
    "--data-dir",
    join(scope.directory, `${name}.data`),
  ]
  return new Terminal(
    [...PROGRAM, "mount", "--http-addr", "127.0.0.1:0", ...directories, ...words],
    { columns },
  )
}

async function nodeWith(scope: Scope, sql: string, options: NodeOptions = {}) {
  const node = await scope.node(options)
  sqlite3(node, "app.db", sql)
  return node
}

describe.skipIf(!hasTerminals)("at a terminal", () => {
  test("litefs mount says what it is, in colours; Ctrl-C leaves nothing behind", async () => {
    await using scope = new Scope()
    await using terminal = mount(scope, "one", ["--primary"])
    await terminal.shows("no databases yet")
    expect(terminal.raw).toContain(
      `${ESC}[32mthe primary${ESC}[0m\r\n  mount  ${scope.directory}/one`,
    )
    expect(terminal.raw).toMatch(/ {2}API {4}http:\/\/127\.0\.0\.1:\d+\/\r\n/)
    terminal.type(CTRL_C)
    expect(await terminal.code()).toBe(0)
  }, 60_000)

  test("a replica shows a whole database that comes in, over and over in one line", async () => {
    await using scope = new Scope()
    const rows = "INSERT INTO t VALUES (randomblob(2000000)); ".repeat(6)
    const primary = await nodeWith(scope, `CREATE TABLE t (x); ${rows}`, {
      flags: ["--snapshot-rate", "4MB/s"],
    })
    await using terminal = mount(scope, "two", ["--primary-url", primary.url], 100)
    await terminal.shows(/receiving app\.db: [\d.]+ MiB of at most 11\.\d MiB, [\d.]+ .iB\/s/)
    await terminal.shows("took a snapshot of the primary")
    terminal.type(CTRL_C)
    expect(await terminal.code()).toBe(0)
    expect(terminal.lines.filter((line) => line.includes("receiving"))).toEqual([])
  }, 60_000)

  test("litefs info --watch follows, and gives the screen back", async () => {
    await using scope = new Scope()
    const node = await nodeWith(scope, "CREATE TABLE t (x)")
    await using terminal = new Terminal([...PROGRAM, "info", "--watch", "--url", node.url])
    await terminal.shows("app.db")
    sqlite3(node, "other.db", "CREATE TABLE t (x)")
    await terminal.shows("other.db")
    await using narrow = new Terminal([...PROGRAM, "info", "--watch", "--url", node.url], {
      columns: 12,
      rows: 4,
    })
    await narrow.shows("all is")
    for (const each of [terminal, narrow]) {
      each.type(CTRL_C)
      expect(await each.code()).toBe(0)
      expect(each.raw).toContain(`${ESC}[?1049h`)
      expect(each.raw).toEndWith(`${ESC}[?25h${ESC}[?1049l`)
    }
    for (const line of narrow.lines) expect(line.replace("^C", "").length).toBeLessThanOrEqual(12)
  }, 60_000)

  test("litefs info --watch says when the node is gone, and goes on when it is back", async () => {
    await using scope = new Scope()
    const node = await scope.node()
    await using terminal = new Terminal([...PROGRAM, "info", "--watch", "--url", node.url])
    await terminal.shows("all is well")
    await node.stop("SIGKILL")
    await terminal.shows("trying again")
    const seen = terminal.raw.length
    await scope.again(node)
    await terminal.shows(new RegExp(`^[\\s\\S]{${seen}}[\\s\\S]*all is well`))
  }, 60_000)

  test.each([
    ["NO_COLOR", { NO_COLOR: "1" }],
    ["TERM=dumb", { TERM: "dumb" }],
  ])("there are no colours with %s", async (_, env) => {
    await using check = new Terminal([...PROGRAM, "config", "check", "--primary"], { env })
    expect(await check.code()).toBe(0)
    expect(check.raw).not.toContain(ESC)
  })

  test("litefs info --watch prints lines on a dumb terminal", async () => {
    await using scope = new Scope()
    const node = await scope.node()
    const words = [...PROGRAM, "info", "--watch", "--url", node.url]
    await using terminal = new Terminal(words, { env: { TERM: "dumb" } })
    await terminal.shows("all is well\r\n")
    terminal.type(CTRL_C)
    expect(await terminal.code()).toBe(0)
    expect(terminal.raw).not.toContain(ESC)
  }, 60_000)
})

describe.skipIf(!hasTerminals)("the prompt of litefs sql", () => {
  async function prompt(scope: Scope, ...words: string[]) {
    const node = await nodeWith(
      scope,
      "CREATE TABLE users (name TEXT); INSERT INTO users VALUES ('ada')",
    )
    const env = { HOME: scope.directory }
    const terminal = new Terminal([...PROGRAM, "sql", ...words, join(node.mount, "app.db")], {
      env,
    })
    await terminal.shows("app.db> ")
    return { node, terminal }
  }

  test("has statements over several lines, tables, schemas, modes and a history", async () => {
    await using scope = new Scope()
    const { terminal } = await prompt(scope)
    await using _ = terminal
    terminal.type(".tables\r")
    await terminal.shows(/users +table/)
    terminal.type("SELECT *\r")
    await terminal.shows("...> ")
    terminal.type("FROM users;\r")
    await terminal.shows("\nada")
    terminal.type(".schema\r")
    await terminal.shows("CREATE TABLE users (name TEXT);")
    terminal.type(".mode json\r")
    await terminal.shows(/mode json\s+\S*app\.db> /)
    terminal.type("SELECT name FROM us")
    await terminal.shows("name FROM us")
    terminal.type("\t") // by itself: with more at once it is pasted text
    await terminal.shows(/name FROM us[\s\S]*ers/)
    terminal.type(";\r")
    await terminal.shows('[{"name":"ada"}]')
    terminal.type(".mode loud\r")
    await terminal.shows("the mode is json, it should be table, json, raw")
    terminal.type(".tabels\r")
    await terminal.shows("did you mean .tables?")
    terminal.type("SELEC 1;\r")
    await terminal.shows('near "SELEC": syntax error')
    terminal.type(CTRL_D)
    expect(await terminal.code()).toBe(0)
    const history = join(scope.directory, ".litefs_sql_history")
    expect(readFileSync(history, "utf8")).toStartWith(".tables\nSELECT *\nFROM users;\n")
    expect(statSync(history).mode & 0o777).toBe(0o600)
  }, 60_000)

  test("takes what is pasted, line after line", async () => {
    await using scope = new Scope()
    const { terminal, node } = await prompt(scope)
    await using _ = terminal
    const names = ["eve", "bob", "dan", "mia"]
    terminal.type(names.map((name) => `INSERT INTO users\rVALUES ('${name}');\r`).join(""))
    terminal.type("SELECT count(*) AS all_of_them FROM users;\r.quit\r")
    expect(await terminal.code()).toBe(0)
    expect(sqlite3(node, "app.db", "SELECT count(*) FROM users")).toBe("5")
  }, 60_000)

  test("Ctrl-C clears what was typed, Ctrl-D undoes what was not committed", async () => {
    await using scope = new Scope()
    const { terminal, node } = await prompt(scope)
    await using _ = terminal
    terminal.type(`DELETE FROM users${CTRL_C}`)
    await terminal.shows("^C")
    terminal.type("BEGIN; DELETE FROM users;\r")
    await terminal.shows("app.db*> ")
    terminal.type(CTRL_D)
    expect(await terminal.code()).toBe(0)
    expect(terminal.raw).toContain("The open transaction is rolled back")
    expect(sqlite3(node, "app.db", "SELECT name FROM users")).toBe("ada")
  }, 60_000)

  test("Ctrl-C ends a statement that runs, and the program", async () => {
    await using scope = new Scope()
    const { terminal } = await prompt(scope)
    await using _ = terminal
    terminal.type(
      "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT count(*) FROM c;\r",
    )
    await terminal.shows("FROM c;\r")
    // Just before the statement runs the prompt still has the keyboard.
    await until(
      "it ends",
      () => {
        terminal.type(CTRL_C)
        return terminal.hasEnded
      },
      { everyMs: 200 },
    )
    expect(await terminal.code()).toBe(130)
  }, 60_000)

  test("says why a replica refuses, and shows no escapes of what is stored", async () => {
    await using scope = new Scope()
    const { terminal } = await prompt(scope, "--read-only")
    await using _ = terminal
    terminal.type("INSERT INTO users VALUES (1);\r")
    await terminal.shows("attempt to write a readonly database")
    const before = terminal.raw.length
    terminal.type("SELECT char(27) || '[2J' AS evil;\r")
    await terminal.shows("\\u001b[2J")
    expect(terminal.raw.slice(before)).not.toContain(`${ESC}[2J`)
  }, 60_000)
})
