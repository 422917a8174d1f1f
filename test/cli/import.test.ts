import { afterEach, beforeEach, expect, test } from "bun:test"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { FakeApi } from "../support/fake-api.ts"
import { FakeIo, WIDE } from "../support/fake-io.ts"

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "litefs-import-"))
})
afterEach(() => rmSync(directory, { recursive: true }))

async function litefs(args: readonly string[], change: (io: FakeIo) => void = () => {}) {
  const io = new FakeIo()
  change(io)
  const code = await run(["import", ...args], io)
  return { code, out: io.out, err: io.err }
}

function file(content: string | Uint8Array): string {
  const path = join(directory, "app.db")
  writeFileSync(path, content)
  return path
}

test("import sends the file to the node", async () => {
  await using api = await FakeApi.start((response) => response.end())
  const content = Buffer.alloc(1_000_000, "x")
  expect(await litefs(["--url", api.url, "--name", "größe & co.db", file(content)])).toEqual({
    code: 0,
    out: 'Import of database "größe & co.db" in 0s\n',
    err: "",
  })
  const [request] = api.requests
  expect(request?.method).toBe("POST")
  expect(request?.url).toBe("/import?name=gr%C3%B6%C3%9Fe+%26+co.db")
  expect(request?.body.equals(content)).toBe(true)
})

test("import leaves the integrity check out with --no-verify", async () => {
  await using api = await FakeApi.start((response) => response.end())
  const { code } = await litefs([`--url=${api.url}`, "--no-verify", "--name=a.db", file("x")])
  expect(code).toBe(0)
  expect(api.requests[0]?.url).toBe("/import?name=a.db&verify=false")
})

test("import reads the standard input when PATH is a dash", async () => {
  await using api = await FakeApi.start((response) => response.end())
  const { code } = await litefs(["--url", api.url, "--name", "a.db", "-"], (io) => {
    io.input = [Buffer.from("first "), Buffer.from("second")]
  })
  expect(code).toBe(0)
  expect(api.requests[0]?.body.toString()).toBe("first second")
})

test("import shows what is done on a terminal only, and takes it away again", async () => {
  await using api = await FakeApi.start((response) => response.end())
  const io = new FakeIo()
  io.screens[2] = WIDE
  const ticks: Uint8Array[] = [new Uint8Array(1024 * 1024), new Uint8Array(1024 * 1024)]
  io.stdin = async function* () {
    for (const tick of ticks) {
      io.clock.advance(500)
      yield tick
    }
  }
  await run(["import", "--url", api.url, "--name", "a.db", "-"], io)
  expect(io.err).toBe("\r\x1b[K1.0 MiB, 2.0 MiB/s\r\r\x1b[K2.0 MiB, 2.0 MiB/s\r\r\x1b[K")
  expect(io.out).toBe('Import of database "a.db" in 1s\n')
})

test("import says what the node says", async () => {
  await using api = await FakeApi.start((response) => {
    response.statusCode = 503
    response.end("lease expired: this node is a replica\n")
  })
  expect(await litefs(["--url", api.url, "--name", "a.db", file("x")])).toEqual({
    code: 1,
    out: "",
    err: "ERROR: lease expired: this node is a replica\n",
  })
})

test("import names the file that the node refuses, and fails with 1: it may be another the next time", async () => {
  await using api = await FakeApi.start((response) => {
    response.statusCode = 400
    response.end('Cannot import "a.db": the file is not usable, it does not start like it\n')
  })
  const path = file("x")
  const ofPath = await litefs(["--url", api.url, "--name", "a.db", path])
  expect(ofPath.err).toBe(
    `ERROR: Cannot import "${path}" as "a.db": the file is not usable, it does not start like it\n`,
  )
  expect(ofPath.code).toBe(1)
  const ofInput = await litefs(["--url", api.url, "--name", "a.db", "-"])
  expect(ofInput.err).toStartWith('ERROR: Cannot import the standard input as "a.db": the file')
})

test("import says when nobody answers", async () => {
  const { code, err } = await litefs(["--url", "http://127.0.0.1:1", "--name", "a.db", file("x")])
  expect(code).toBe(1)
  expect(err).toStartWith("ERROR: Cannot reach LiteFS at http://127.0.0.1:1: ")
  expect(err.split("\n")).toHaveLength(2)
})

test("import says when there is no file", async () => {
  const path = join(directory, "none.db")
  const { code, err } = await litefs(["--name", "a.db", path])
  expect(code).toBe(1)
  expect(err).toBe(`ERROR: Cannot import "${path}": there is no such file\n`)
  const other = await litefs(["--name", "a.db", directory])
  expect(other.err).toBe(`ERROR: Cannot import "${directory}": it is not a file\n`)
})

test.each([
  [[], "no PATH is given, see litefs import --help"],
  [["a"], "no --name DB is given"],
  [["--name", "a.db", "a", "b"], '"b" is one word too many, see litefs import --help'],
  [
    ["--name", "a.db", "--url", "localhost", "a"],
    '--url is "localhost", it should be like http://127.0.0.1:20202 or unix:/var/lib/litefs/api.sock',
  ],
  [["--nmae", "a.db", "a"], "there is no flag --nmae, did you mean --name?"],
])("import refuses %j", async (args, problem) => {
  expect(await litefs(args)).toEqual({
    code: 2,
    out: "",
    err: `ERROR: Cannot run litefs import: ${problem}\n`,
  })
})

test("import has help", async () => {
  const { code, out } = await litefs(["--help"])
  expect(code).toBe(0)
  expect(out).toMatchInlineSnapshot(`
    "The import command will put a SQLite database file in the place of a database, or
    make a new one from it. The whole file is one transaction, which goes to replicas
    like any other: clients that have the database open see all of it or nothing.

    Usage:

    	litefs import [flags] --name DB PATH

    Flags:

    	--url URL               the API of the node, or unix:PATH of its socket (default http://127.0.0.1:20202)
    	--config FILE           read from its litefs.yml where the node is
    	--name DB               the database; required
    	--auth-token TOKEN      the token that requests must show; ps shows it too, so better use a file
    	--auth-token-file FILE  the token is in this file; the same one on all nodes
    	--http-tls-cert FILE    the certificate that this side shows (PEM)
    	--http-tls-key FILE     its private key (PEM)
    	--http-tls-ca FILE      the other side's certificate must be signed by this one (PEM)
    	--no-verify             skip SQLite's integrity check

    Every flag but --config can be set in the environment too: --url is LITEFS_URL.
    A flag on the command line wins.

    PATH - is the standard input, which has to be a whole database: of one in WAL mode,
    what was only in its WAL is missing. Of a file, what is in the WAL beside it
    is imported, too, and other programs may use it meanwhile. One with the journal
    of an interrupted transaction is refused: sqlite3 FILE .backup makes a whole one.

    The node must be the primary. It checks the file before anything is changed,
    and waits up to 10 seconds for transactions of its clients to end. The journal
    mode of a database that exists stays what it is.

    Examples:

    	# a new database, or new content for one
    	litefs import --name app.db /tmp/app.db

    	# from a compressed backup, on another host
    	zcat app.db.gz | litefs import --url http://10.0.0.1:20202 --name app.db -
    "
  `)
})
