/** A named pipe, a directory, a socket or a link in the place of a file of the data directory is told, and waits for nothing. */
import { afterAll, beforeAll, expect, test } from "bun:test"
import { execFileSync } from "node:child_process"
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { createServer } from "node:net"
import { dirname, join } from "node:path"
import { failureOf, sqlite3, sqlite3Command, start } from "../support/client.ts"
import { canMount, MEMORY, mountsBelow, PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { getText, healthOf, infoOf } from "../support/node-api.ts"
import { testRandom } from "../support/random.ts"

const PUTS: Record<string, (path: string) => void | Promise<void>> = {
  fifo: (path) => void execFileSync("mkfifo", [path]),
  dir: (path) => mkdirSync(path),
  socket: makeSocket,
  link: (path) => symlinkSync("/nowhere/at/all", path),
  "link-to-file": (path) => symlinkSync(precious, path),
}

/** What somebody else has where the link leads. */
const PRECIOUS = "precious"
let precious: string

beforeAll(() => {
  precious = join(mkdtempSync(join(MEMORY, "litefs-precious-")), "file")
  writeFileSync(precious, PRECIOUS)
})
afterAll(() => rmSync(dirname(precious), { recursive: true }))

const FILES = ["database", "journal", "wal", "shm", "synced", "past", "checksums", "takeover"]

/** A name that stays when the listener has gone: a real one is removed with it. */
async function makeSocket(path: string): Promise<void> {
  const server = createServer()
  await new Promise<void>((done) => server.listen(`${path}.made`, done))
  execFileSync("mv", [`${path}.made`, path])
  await new Promise((done) => server.close(done))
}

async function put(path: string, kind: string): Promise<void> {
  rmSync(path, { force: true, recursive: true })
  mkdirSync(dirname(path), { recursive: true })
  await PUTS[kind]?.(path)
}

async function stoppedPrimary(scope: Scope): Promise<TestNode> {
  const node = await scope.node()
  sqlite3(node, "app.db", "CREATE TABLE t(a); INSERT INTO t VALUES(1)")
  sqlite3(node, "good.db", "CREATE TABLE t(a); INSERT INTO t VALUES(1)")
  await node.stop()
  return node
}

test.skipIf(!canMount)(
  "a database with something else in the place of a file is refused, the others go on",
  async () => {
    await using scope = new Scope(MEMORY)
    const node = await stoppedPrimary(scope)
    const dbs = join(node.data, "dbs")
    const [last = ""] = readdirSync(join(dbs, "app.db", "ltx"))
      .toSorted()
      .toReversed()
    const names: string[] = []
    for (const kind of Object.keys(PUTS)) {
      for (const file of [...FILES, "ltx", join("ltx", last)]) {
        if (kind === "dir" && file === "ltx") continue
        const name = `${kind}-${names.length}.db`
        cpSync(join(dbs, "app.db"), join(dbs, name), { recursive: true })
        await put(join(dbs, name, file), kind)
        names.push(name)
      }
    }
    rmSync(join(dbs, "app.db"), { recursive: true })

    const doctor = await start([...PROGRAM, "doctor", "--data-dir", node.data, "--json"]).ended
    expect(doctor).toMatchObject({ code: 1, stderr: "" })
    const report: { databases: { name: string; findings: { code: string }[] }[] } = JSON.parse(
      doctor.stdout,
    )
    const wrong = report.databases.filter(({ findings }) => findings[0]?.code === "wrong-kind")
    expect(wrong.map(({ name }) => name)).toEqual(names.toSorted())

    const again = await scope.again(node)
    expect(sqlite3(again, "good.db", "SELECT a FROM t")).toBe("1")
    const { databases } = await infoOf(again)
    const refused = databases.filter(({ problem }) =>
      problem?.match(/ is (a named pipe|a directory|a socket|a symbolic link.*), it should be a/),
    )
    expect(refused.map(({ name }) => name).toSorted()).toEqual(names.toSorted())
    expect((await healthOf(again)).health.leftOut).toHaveLength(names.length)
    expect(await getText(again, "/metrics")).toContain(`"fifo-0.db"`)
    expect(again.output.match(/database is unavailable/g)).toHaveLength(names.length)
    expect(readFileSync(precious, "utf8")).toBe(PRECIOUS)
  },
)

test.skipIf(!canMount)(
  "what is no directory in the place of a database is refused by its name, and not followed",
  async () => {
    await using scope = new Scope(MEMORY)
    let node = await stoppedPrimary(scope)
    const dbs = join(node.data, "dbs")
    const away = join(scope.directory, "away")
    renameSync(join(dbs, "app.db"), away)
    const takes = {
      "app.db": () => symlinkSync(away, join(dbs, "app.db")),
      "dangling.db": () => symlinkSync("/nowhere/at/all", join(dbs, "dangling.db")),
      "file.db": () => writeFileSync(join(dbs, "file.db"), "a file"),
      "fifo.db": () => void execFileSync("mkfifo", [join(dbs, "fifo.db")]),
    }
    const names = Object.keys(takes)
    const before = readdirSync(away, { recursive: true })
    const refused = (name: string) =>
      expect(failureOf(sqlite3Command(node, name), "create table no(x)")).toMatch(
        /unable to open|disk I\/O/,
      )

    // While the node runs.
    node = await scope.again(node)
    for (const take of Object.values(takes)) take()
    for (const name of names) {
      refused(name)
      await node.logged(new RegExp(`Cannot make database .*${name}.*it should be a directory`))
    }
    await node.stop()

    // And from its start on.
    node = await scope.again(node)
    expect(sqlite3(node, "good.db", "SELECT a FROM t")).toBe("1")
    for (const name of names) refused(name)
    const { leftOut } = (await healthOf(node)).health
    expect(leftOut?.map(({ name }) => name).toSorted()).toEqual(names.toSorted())
    for (const { problem } of leftOut ?? []) {
      expect(problem).toMatch(/ is a (symbolic link|file|named pipe), it should be a directory$/)
    }
    expect(node.output.match(/database is unavailable/g)).toHaveLength(names.length)
    expect(readdirSync(away, { recursive: true })).toEqual(before)
  },
)

const OF_THE_NODE = [
  ...["clusterid", "clusterkey", "lease.json", "lock", "owners", "mounted", "commit-log.0"],
  ...["commit-log.1.tmp", "dbs", "side", "import", "import/1", "spare", "spare/0", "diverged"],
  "api.sock",
]

test.skipIf(!canMount).each(testRandom().halfOf(Object.keys(PUTS)))(
  "a node with a %s in the place of a file of its own starts, or says so in one line",
  async (kind) => {
    await using scope = new Scope(MEMORY)
    const node = await stoppedPrimary(scope)
    for (const name of OF_THE_NODE) {
      const data = join(scope.directory, "data")
      cpSync(node.data, data, { recursive: true })
      await put(join(data, name), kind)
      const flags = ["--fuse-dir", node.mount, "--data-dir", data, "--http-addr", "127.0.0.1:0"]
      const words = ["timeout", "-s", "KILL", "20", ...PROGRAM, "mount", "--primary", ...flags]
      const { code, stderr } = await start([...words, "--", "true"]).ended
      const errors = stderr.split("\n").filter((line) => /ERROR|^ {4}at /.test(line))
      const said = { name, code, errors }
      if (code === 0) expect(said).toEqual({ name, code, errors: [] })
      else
        expect(said).toEqual({ name, code: 1, errors: [expect.stringMatching(/^ERROR: Cannot /)] })
      rmSync(data, { recursive: true })
    }
    expect(mountsBelow(scope.directory)).toEqual([])
    expect(readFileSync(precious, "utf8")).toBe(PRECIOUS)
  },
)

test.skipIf(!canMount)(
  "what a start needs to know of the last one is not taken for nothing",
  async () => {
    await using scope = new Scope(MEMORY)
    const node = await stoppedPrimary(scope)
    const kinds = {
      fifo: "a named pipe",
      dir: "a directory",
      socket: "a socket",
      link: "a symbolic link that leads nowhere",
      "link-to-file": "a symbolic link",
    }
    for (const name of ["mounted", "commit-log.0", "lock"]) {
      for (const [kind, is] of Object.entries(kinds)) {
        if (name === "mounted" && kind === "link-to-file") continue // it is read, and replaced by a new one
        const data = join(scope.directory, "data")
        cpSync(node.data, data, { recursive: true })
        await put(join(data, name), kind)
        const flags = ["--fuse-dir", node.mount, "--data-dir", data, "--http-addr", "127.0.0.1:0"]
        const words = [...PROGRAM, "mount", "--primary", ...flags]
        const { code, stderr } = await start([...words, "--", "true"]).ended
        const problem = `Cannot open "${join(data, name)}": it is ${is}, it should be a file`
        expect({ code, last: stderr.trimEnd().split("\n").at(-1) }).toEqual({
          code: 1,
          last: `ERROR: ${problem}`,
        })
        rmSync(data, { recursive: true })
      }
    }
  },
)
