import { afterEach, beforeEach, expect, test } from "bun:test"
import {
  chmodSync,
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import type { ServerResponse } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { DataDirectory } from "../support/data-directory.ts"
import { FakeApi } from "../support/fake-api.ts"
import { FakeIo } from "../support/fake-io.ts"
import { SqliteFiles } from "../support/sqlite-files.ts"
import { until } from "../support/until.ts"

let directory: string
let path: string
let database: Uint8Array
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "litefs-export-"))
  path = join(directory, "out.db")
  using files = new SqliteFiles()
  files.run("CREATE TABLE t(x)")
  database = files.read()
})
afterEach(() => rmSync(directory, { recursive: true }))

async function litefs(...args: string[]) {
  const io = new FakeIo()
  const code = await run(["export", ...args], io)
  return { code, out: io.out, err: io.err, bytes: io.bytes }
}

function sendDatabase(response: ServerResponse): void {
  response.writeHead(200, { "Content-Length": database.length })
  response.end(database)
}

test("export writes the file", async () => {
  await using api = await FakeApi.start(sendDatabase)
  const { code, out, err } = await litefs("--url", api.url, "--name", "a b.db", path)
  expect({ code, out, err }).toEqual({
    code: 0,
    out: 'Export of database "a b.db" in 0s\n',
    err: "",
  })
  expect(api.requests[0]).toMatchObject({ method: "GET", url: "/export?name=a+b.db" })
  expect(readFileSync(path).equals(database)).toBe(true)
  expect(readdirSync(directory)).toEqual(["out.db"])
})

test("export writes to the standard output when PATH is a dash", async () => {
  await using api = await FakeApi.start(sendDatabase)
  const { code, out, err, bytes } = await litefs("--url", api.url, "--name", "a.db", "-")
  expect({ code, out, err }).toEqual({
    code: 0,
    out: "",
    err: 'Export of database "a.db" in 0s\n',
  })
  expect(Buffer.compare(bytes, database)).toBe(0)
})

test("export replaces a database that is there, and keeps who may read it", async () => {
  await using api = await FakeApi.start(sendDatabase)
  for (const old of ["SQLite format 3\0 an older one", ""]) {
    writeFileSync(path, old)
    chmodSync(path, 0o640)
    const before = openSync(path, "r")
    expect(await litefs("--url", api.url, "--name", "a.db", path)).toMatchObject({
      code: 0,
      err: "",
    })
    expect(readFileSync(path).equals(database)).toBe(true)
    expect(statSync(path).mode & 0o777).toBe(0o640)
    expect(readdirSync(directory)).toEqual(["out.db"])
    expect(readFileSync(before, "utf8")).toBe(old) // who has it open has all of it
    closeSync(before)
  }
})

test("export replaces what a link leads to", async () => {
  await using api = await FakeApi.start(sendDatabase)
  mkdirSync(join(directory, "backups"))
  writeFileSync(join(directory, "backups", "1.db"), "SQLite format 3\0")
  symlinkSync("backups/1.db", path)
  expect((await litefs("--url", api.url, "--name", "a.db", path)).code).toBe(0)
  expect(lstatSync(path).isSymbolicLink()).toBe(true)
  expect(readFileSync(join(directory, "backups", "1.db")).equals(database)).toBe(true)
  expect(readdirSync(join(directory, "backups"))).toEqual(["1.db"])
})

test("export keeps the database that was there with --keep, and says where", async () => {
  await using api = await FakeApi.start(sendDatabase)
  writeFileSync(path, "SQLite format 3\0old")
  const { code, out, err } = await litefs("--url", api.url, "--name", "a.db", "--keep", path)
  expect({ code, out }).toEqual({ code: 0, out: 'Export of database "a.db" in 0s\n' })
  const kept = readdirSync(directory).find((name) => name !== "out.db")
  expect(kept).toMatch(/^out\.db\.replaced-\d+$/)
  expect(err).toBe(`The file that was there is now "${join(directory, kept ?? "")}"\n`)
  expect(readFileSync(join(directory, kept ?? ""), "utf8")).toBe("SQLite format 3\0old")
  expect(readFileSync(path).equals(database)).toBe(true)
})

test("export does not replace what is no database, but with --force", async () => {
  await using api = await FakeApi.start(sendDatabase)
  for (const old of ["notes", "SQLite", "a text that is longer than a header"]) {
    writeFileSync(path, old)
    expect(await litefs("--url", api.url, "--name", "a.db", path)).toEqual({
      ...{ code: 1, out: "", bytes: expect.anything() },
      err: `ERROR: Cannot export to "${path}": what is there is not a SQLite database, choose another PATH or give --force\n`,
    })
    expect(readFileSync(path, "utf8")).toBe(old)
  }
  expect(api.requests).toEqual([])
  expect((await litefs("--url", api.url, "--name", "a.db", "--force", path)).code).toBe(0)
  expect(readFileSync(path).equals(database)).toBe(true)
  expect(readdirSync(directory)).toEqual(["out.db"])
})

test("export writes nothing into a data directory", async () => {
  await using api = await FakeApi.start(sendDatabase)
  using data = new DataDirectory()
  const app = data.database("app.db", 1)
  writeFileSync(join(data.root, "lock"), "")
  symlinkSync(data.root, join(directory, "link"))
  const before = data.content
  for (const to of [
    app.path("database"),
    join(data.root, "new.db"),
    join(directory, "link/dbs/app.db/database"),
  ]) {
    const { code, err } = await litefs("--url", api.url, "--name", "a.db", "--force", to)
    expect({ code, err }).toEqual({
      code: 1,
      err: `ERROR: Cannot export to "${to}": it is in the data directory "${data.root}", choose another PATH\n`,
    })
  }
  expect(data.content).toEqual(before)
})

test("export says in one line where it cannot write", async () => {
  await using api = await FakeApi.start(sendDatabase)
  const missing = join(directory, "none")
  expect(await litefs("--url", api.url, "--name", "a.db", join(missing, "out.db"))).toMatchObject({
    code: 1,
    err: `ERROR: Cannot export to "${missing}/out.db": there is no directory "${missing}"\n`,
  })
  expect(await litefs("--url", api.url, "--name", "a.db", directory)).toMatchObject({
    code: 1,
    err: `ERROR: Cannot export to "${directory}": it is not a file, choose another PATH\n`,
  })
})

test("export does not put a file beside a WAL that is not its own", async () => {
  await using api = await FakeApi.start(sendDatabase)
  writeFileSync(`${path}-wal`, "frames")
  const { code, err } = await litefs("--url", api.url, "--name", "a.db", path)
  expect(code).toBe(1)
  expect(err).toContain(`"${path}-wal" belongs to another database, remove it`)
})

const failures: [string, (response: ServerResponse) => void, RegExp][] = [
  [
    "there is no such database",
    (response) => {
      response.statusCode = 404
      response.end('Cannot export "a.db": there is no database of that name\n')
    },
    /^ERROR: Cannot export "a.db": there is no database of that name\n$/,
  ],
  [
    "the connection breaks",
    (response) => {
      response.writeHead(200, { "Content-Length": database.length })
      response.write(database.subarray(0, 5000))
      setTimeout(() => response.destroy(), 50)
    },
    /^ERROR: Cannot export from http:[^ ]*: the connection broke, see the node's log\n$/,
  ],
  [
    "something else comes",
    (response) => void response.end("hello"),
    /^ERROR: Cannot export to ".*": what came is not a whole SQLite database\n$/,
  ],
  [
    "half a page comes",
    (response) => void response.end(database.subarray(0, 5000)),
    /what came is not a whole SQLite database\n$/,
  ],
]

test.each(failures)("export keeps the old file when %s", async (_, answer, problem) => {
  await using api = await FakeApi.start(answer)
  writeFileSync(path, "SQLite format 3\0old")
  const { code, out, err } = await litefs("--url", api.url, "--name", "a.db", path)
  expect({ code, out }).toEqual({ code: 1, out: "" })
  expect(err).toMatch(problem)
  expect(readFileSync(path, "utf8")).toBe("SQLite format 3\0old")
  expect(readdirSync(directory)).toEqual(["out.db"])
})

test.each([
  [[], "no PATH is given, see litefs export --help"],
  [["a"], "no --name DB is given"],
  [["--name", "b/a.db", "a"], '--name is "b/a.db": it contains "/", it should be like app.db'],
  [["--name", "a.db", "a", "b"], '"b" is one word too many, see litefs export --help'],
])("export refuses %j", async (args, problem) => {
  const { code, out, err } = await litefs(...args)
  expect({ code, out }).toEqual({ code: 2, out: "" })
  expect(err).toBe(`ERROR: Cannot run litefs export: ${problem}\n`)
})

test("export has help", async () => {
  const { code, out } = await litefs("--help")
  expect(code).toBe(0)
  expect(out).toMatchInlineSnapshot(`
    "The export command will write a database to a file: all transactions up to one
    position, and nothing of later ones. Nobody waits for it, and it can be done on
    any node.

    Usage:

    	litefs export [flags] --name DB PATH

    Flags:

    	--url URL               the API of the node, or unix:PATH of its socket (default http://127.0.0.1:20202)
    	--config FILE           read from its litefs.yml where the node is
    	--name DB               the database; required
    	--auth-token TOKEN      the token that requests must show; ps shows it too, so better use a file
    	--auth-token-file FILE  the token is in this file; the same one on all nodes
    	--http-tls-cert FILE    the certificate that this side shows (PEM)
    	--http-tls-key FILE     its private key (PEM)
    	--http-tls-ca FILE      the other side's certificate must be signed by this one (PEM)
    	--keep                  keep a database that is there, as PATH.replaced-TIME
    	--force                 also replace a file that is not a database

    Every flag but --config can be set in the environment too: --url is LITEFS_URL.
    A flag on the command line wins.

    PATH - is the standard output. The file appears under its name when it is whole;
    until then a database that was there stays, and then it is replaced in one go.
    Any other file is left alone, and so are the mount and the data directory.

    Examples:

    	# a backup
    	litefs export --name app.db /backup/app.db

    	# straight to another host
    	litefs export --name app.db - | ssh backup 'cat > app.db'
    "
  `)
})

test("export that is interrupted leaves nothing behind", async () => {
  const halfSent = Promise.withResolvers<void>()
  await using api = await FakeApi.start((response) => {
    response.writeHead(200, { "Content-Length": database.length })
    response.write(database.subarray(0, 1000), () => halfSent.resolve())
  })
  const io = new FakeIo()
  const ended = run(["export", "--url", api.url, "--name", "a.db", path], io)
  await halfSent.promise
  await until("a file is being written", () => readdirSync(directory).length > 0)
  io.events.signal("SIGINT")
  expect(await ended).toBe(130)
  expect({ out: io.out, err: io.err }).toEqual({ out: "", err: "" })
  expect(readdirSync(directory)).toEqual([])
  expect(io.events.listenerCount).toBe(0)
})
