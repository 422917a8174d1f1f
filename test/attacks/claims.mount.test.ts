/**
 * Four bytes that claim a large database: in a client's files, and in what a primary sends. Nobody may have to work, or
 * to make room, for what is only said.
 */
import { expect, test } from "bun:test"
import { statSync } from "node:fs"
import { join } from "node:path"
import { Crc64 } from "../../src/lib/codecs/crc64.ts"
import { ChecksumAccumulator } from "../../src/ltx/checksum.ts"
import { encodeLtxHeader } from "../../src/ltx/header.ts"
import { WAL_HEADER_SIZE } from "../../src/sqlite/wal.ts"
import { encodeChunks } from "../../src/wire/chunk.ts"
import { encodeFrame } from "../../src/wire/frame.ts"
import { concat } from "../support/bytes.ts"
import { nodeProgram, output, run, sqlite3, start } from "../support/client.ts"
import { FakeApi } from "../support/fake-api.ts"
import { ltxFile, ltxHeader, page } from "../support/ltx-file.ts"
import { canMount, Scope, type TestNode } from "../support/node.ts"
import { healthOf, infoOf } from "../support/node-api.ts"
import { until } from "../support/until.ts"
import { WalWriter } from "../support/wal-writer.ts"

const COMMIT = 2 ** 32 - 1

/** Runs the program, a client of the mount, while another client uses another database. Fails when that has to wait. */
async function beside(node: TestNode, source: string, ...words: string[]): Promise<string> {
  sqlite3(node, "other.db", "create table if not exists t(x)")
  const prelude = `
    import fs from "node:fs"
    process.chdir(process.argv[1])
    const words = process.argv.slice(2)
    const write = (name, offset, bytes) => {
      const fd = fs.openSync(name, fs.constants.O_RDWR | fs.constants.O_CREAT)
      try {
        fs.writeSync(fd, bytes, 0, bytes.length, offset)
      } finally {
        fs.closeSync(fd)
      }
    }
    const attempt = (act) => {
      try {
        act()
        console.log("done")
      } catch (error) {
        console.log(error.code)
      }
    }
  `
  const command = ["node", "--input-type=module", "-e", prelude + source, node.mount, ...words]
  const attack = start(command)
  const startMs = Date.now()
  let isOver = false
  const over = attack.ended.finally(() => {
    isOver = true
  })
  for (let turn = 0; turn < 5 || !isOver; turn++) {
    sqlite3(node, "other.db", "insert into t values(1)")
    await new Promise((done) => setTimeout(done, 20))
    if (Date.now() - startMs > 5000) break
  }
  expect(Date.now() - startMs).toBeLessThan(5000)
  await over
  return (await output(attack)).trim()
}

test.skipIf(!canMount).each(["delete", "truncate", "persist"])(
  "a %s journal whose page 1 says 2^32-1 pages",
  async (mode) => {
    await using scope = new Scope()
    const node = await scope.node()
    sqlite3(node, "a.db", "pragma page_size = 512; create table t(x); insert into t values(1)")
    // Page 1 with another count of pages, as after a transaction, under a journal of one sector.
    const source = `
      const page = fs.readFileSync("a.db").subarray(0, 512)
      const journal = Buffer.alloc(600)
      Buffer.from("d9d505f920a163d7", "hex").copy(journal)
      journal.writeUInt32BE(2, 16)
      journal.writeUInt32BE(512, 20)
      journal.writeUInt32BE(512, 24)
      page.copy(journal, 516, 0, 84)
      write("a.db-journal", 0, journal)
      const after = Buffer.from(page)
      after.writeUInt32BE(${COMMIT}, 28)
      after.writeUInt32BE(after.readUInt32BE(24) + 1, 24)
      after.writeUInt32BE(after.readUInt32BE(24), 92)
      write("a.db", 0, after)
      attempt(() => ({
        delete: () => fs.unlinkSync("a.db-journal"),
        truncate: () => fs.truncateSync("a.db-journal", 0),
        persist: () => write("a.db-journal", 0, Buffer.alloc(28)),
      })[words[0]]())
      write("a.db", 0, page)
      attempt(() => fs.unlinkSync("a.db-journal"))
    `
    expect(await beside(node, source, mode)).toBe("EIO\ndone")
    await node.logged(/page 1 says that the database has 4294967295 pages, and its file has 1024 b/)
    expect(sqlite3(node, "a.db", "insert into t values(2); select count(*) from t")).toBe("2")
  },
  60_000,
)

test.skipIf(!canMount)(
  "a file that is made large by one far write, and a page 1 that says so",
  async () => {
    await using scope = new Scope()
    const node = await scope.node()
    sqlite3(node, "a.db", "pragma page_size = 512; create table t(x); insert into t values(1)")
    const source = `
      const page = fs.readFileSync("a.db").subarray(0, 512)
      const journal = Buffer.alloc(512)
      Buffer.from("d9d505f920a163d7", "hex").copy(journal)
      journal.writeUInt32BE(2, 16)
      journal.writeUInt32BE(512, 20)
      journal.writeUInt32BE(512, 24)
      write("a.db-journal", 0, journal)
      const count = 2 ** 27
      const after = Buffer.from(page)
      after.writeUInt32BE(count, 28)
      after.writeUInt32BE(after.readUInt32BE(24) + 1, 24)
      after.writeUInt32BE(after.readUInt32BE(24), 92)
      write("a.db", 0, after)
      write("a.db", (count - 1) * 512, Buffer.alloc(512))
      attempt(() => fs.unlinkSync("a.db-journal"))
    `
    expect(await beside(node, source)).toBe("EIO")
    await node.logged(/it says that the database has 134217728 pages, and there were 2 and 1 came/)
  },
  60_000,
)

test.skipIf(!canMount)(
  "one WAL frame with a commit of 2^32-1",
  async () => {
    await using scope = new Scope()
    const node = await scope.node()
    sqlite3(node, "a.db", "create table t(x); insert into t values(1)")
    nodeProgram(node, `db("a.db").pragma("journal_mode = wal")`)
    const writer = new WalWriter(4096)
    const first = new Uint8Array(readFile(node, "a.db").subarray(0, 4096))
    const writes = [writer.header, ...writer.frames([{ pgno: 1, data: first }], COMMIT)]
    const source = `
      const { O_RDWR, O_CREAT } = fs.constants
      const fd = fs.openSync("a.db-wal", O_RDWR | O_CREAT)
      for (const [offset, hex] of JSON.parse(words[0])) {
        const bytes = Buffer.from(hex, "hex")
        // The kernel may split it in two, and then the first part counts as written.
        attempt(() => {
          for (let at = 0; at < bytes.length; ) {
            at += fs.writeSync(fd, bytes, at, bytes.length - at, offset + at)
          }
        })
      }
    `
    const list = writes.map(({ offset, bytes }) => [offset, Buffer.from(bytes).toString("hex")])
    expect(writes[1]?.offset).toBe(WAL_HEADER_SIZE)
    const said = (await beside(node, source, JSON.stringify(list))).split("\n")
    expect(said.at(-1)).toBe("EIO")
    await node.logged(/it says that the database has 4294967295 pages, and there were 2 and 0 came/)
    run(["rm", `${node.mount}/a.db-wal`])
    expect(sqlite3(node, "a.db", "insert into t values(2); select count(*) from t")).toBe("2")
  },
  60_000,
)

test.skipIf(!canMount)(
  "what SQLite leaves unwritten is taken: a table that was made and dropped in one transaction",
  async () => {
    await using scope = new Scope()
    const node = await scope.node()
    for (const mode of ["delete", "wal"]) {
      const make = "create table u(x); insert into u values(zeroblob(20000000)); drop table u"
      nodeProgram(
        node,
        `
          const d = db("${mode}.db")
          d.pragma("journal_mode = ${mode}")
          d.pragma("cache_size = -100000")
          d.exec("create table t(x); insert into t values(1)")
          d.exec("begin; ${make}; insert into t values(2); commit")
        `,
      )
      expect(sqlite3(node, `${mode}.db`, "pragma integrity_check; select count(*) from t")).toBe(
        "ok\n2",
      )
    }
  },
  60_000,
)

function readFile(node: TestNode, name: string): Buffer {
  return Buffer.from(run(["base64", "-w0", `${node.mount}/${name}`]), "base64")
}

// --- from a primary ---

/** A whole file, right in itself, with any TXID. */
function rawSnapshot(maxTxid: bigint, timestampMs = 1_795_396_253_554n): Uint8Array {
  const { data } = page(1, 0)
  const bytes = Buffer.alloc(100 + 4 + 512 + 4 + 16)
  bytes.write("LTX1")
  bytes.writeUInt32BE(512, 8)
  bytes.writeUInt32BE(1, 12)
  bytes.writeBigUInt64BE(1n, 16)
  bytes.writeBigUInt64BE(maxTxid, 24)
  bytes.writeBigInt64BE(timestampMs, 32)
  bytes.writeUInt32BE(1, 100)
  bytes.set(data, 104)
  const sum = new ChecksumAccumulator()
  sum.togglePage(1, data)
  bytes.writeBigUInt64BE(sum.checksum, 620)
  const crc = new Crc64().update(bytes.subarray(0, bytes.length - 8)).digest()
  bytes.writeBigUInt64BE(crc | (1n << 63n), bytes.length - 8)
  return bytes
}

/** A primary that sends every replica these files, and then is silent. */
async function primaryOf(scope: Scope, ...files: Uint8Array[]): Promise<FakeApi> {
  const api = await FakeApi.start((response, request) => {
    response.setHeader("Litefs-Cluster-Id", "LFSC0000000000000001")
    if (request.url !== "/stream") return void response.writeHead(404).end()
    response.writeHead(200)
    for (const bytes of files) {
      response.write(encodeFrame({ type: "ltx", size: 0n, database: "a.db" }))
      response.write(encodeChunks(bytes))
    }
    response.write(encodeFrame({ type: "ready" }))
  })
  scope.defer(() => api[Symbol.asyncDispose]())
  return api
}

const BASE = rawSnapshot(1n)
const BASE_SUM = Buffer.from(BASE).readBigUInt64BE(620)

const LZ4_HEADER = Buffer.from("04224d186440a7", "hex")

/** The first 100 bytes of an LTX file, whose pages may come. */
function headerOf(given: Parameters<typeof ltxHeader>[0]): Uint8Array {
  return encodeLtxHeader(ltxHeader(given))
}

const CLAIMS: [string, Uint8Array[], RegExp][] = [
  ["a snapshot with max TXID 2^64-1", [rawSnapshot(2n ** 64n - 1n)], /max TXID \d+ is above/],
  ["a snapshot with max TXID 2^63", [rawSnapshot(2n ** 63n)], /max TXID \d+ is above/],
  ["a snapshot of no time", [rawSnapshot(1n, 2n ** 53n - 1n)], /timestamp \d+ is not a time/],
  [
    "one page, and a commit of 2^16",
    [
      BASE,
      ltxFile({
        header: { minTxid: 2n, commit: 2 ** 16, preApplyChecksum: BASE_SUM },
        pages: [page(1, 0)],
        postApplyChecksum: BASE_SUM,
      }),
    ],
    /it says that the database has 65536 pages, and \d+ new ones are not in it/,
  ],
  [
    "snapshot whose LZ4 frame goes on without a page",
    [concat(headerOf({ commit: 4 }), LZ4_HEADER, Buffer.from("0000008000000080", "hex"))],
    /a block holds nothing/,
  ],
]

test.skipIf(!canMount).each(CLAIMS)(
  "a replica takes no %s",
  async (_, files, refusal) => {
    await using scope = new Scope()
    const primary = await primaryOf(scope, ...files)
    const replica = await scope.node({ follows: primary })
    await replica.logged(refusal)
    await expectProblem(
      replica,
      RegExp(`^the primary at ${primary.url} has sent .*${refusal.source}`),
    )
    const info = await fetch(`${replica.url}/info`)
    expect(info.status).toBe(200)
    const { databases } = (await info.json()) as { databases: Record<string, { txid: string }> }
    expect(JSON.stringify(databases)).not.toMatch(/ffffffff|8000000000/)
  },
  30_000,
)

/** What everybody is told who asks the replica. */
async function expectProblem(replica: TestNode, problem: RegExp): Promise<void> {
  await until("the problem is told", async () => {
    return problem.test((await infoOf(replica)).lastProblem?.problem ?? "")
  })
  expect((await healthOf(replica, "?synced")).health.reason).toMatch(problem)
  expect(replica.output).not.toMatch(/not connected to the primary/)
}

/** Their pages never come. */
const TERABYTES: [string, Uint8Array[]][] = [
  ["snapshot", [headerOf({ pageSize: 65536, commit: 2 ** 25 })]],
  [
    "transaction",
    [BASE, headerOf({ minTxid: 2n, preApplyChecksum: BASE_SUM, commit: 2 ** 32 - 1 })],
  ],
]

test.skipIf(!canMount).each(TERABYTES)(
  "a %s of terabytes is a claim of the primary, and no full disk",
  async (what, files) => {
    await using scope = new Scope()
    const primary = await primaryOf(scope, ...files)
    const replica = await scope.node({ follows: primary })
    const claim = RegExp(`Cannot receive a ${what} of "a.db": it needs 2.0 TiB, .* are free`)
    await replica.logged(RegExp(claim.source.replaceAll('"', '\\\\"')))
    await expectProblem(replica, claim)
    expect(replica.output).not.toMatch(/the disk is full/)
    expect((await infoOf(replica)).lastProblem?.problem).not.toMatch(/disk/)
  },
  30_000,
)

test.skipIf(!canMount)(
  "bytes of a primary that are no frame are told as that",
  async () => {
    await using scope = new Scope()
    const api = await FakeApi.start((response, request) => {
      response.setHeader("Litefs-Cluster-Id", "LFSC0000000000000001")
      if (request.url !== "/stream") return void response.writeHead(404).end()
      response.writeHead(200)
      response.write(Buffer.alloc(64, 0xee))
    })
    scope.defer(() => api[Symbol.asyncDispose]())
    const replica = await scope.node({ follows: api })
    await replica.logged(/the primary has sent what it should not/)
    await expectProblem(
      replica,
      RegExp(`^the primary at ${api.url} has sent what it should not: Cannot`),
    )
  },
  30_000,
)

test.skipIf(!canMount)(
  "a snapshot takes room as it comes, not as its header says",
  async () => {
    await using scope = new Scope()
    const header = Buffer.from(rawSnapshot(1n))
    header.writeUInt32BE(65536, 8)
    header.writeUInt32BE(4096 * 4, 12) // 1 GiB, which there may be room for
    const api = await FakeApi.start((response, request) => {
      response.setHeader("Litefs-Cluster-Id", "LFSC0000000000000001")
      if (request.url !== "/stream") return void response.writeHead(404).end()
      response.writeHead(200)
      response.write(encodeFrame({ type: "ltx", size: 0n, database: "a.db" }))
      response.write(encodeChunks(header.subarray(0, 200)).subarray(0, 202)) // without its end
    })
    scope.defer(() => api[Symbol.asyncDispose]())
    const replica = await scope.node({ follows: api })
    const path = join(replica.data, "dbs/a.db")
    const size = () =>
      run(["sh", "-c", `cat /dev/null; du -sk ${path} 2>/dev/null || echo 0`]).split(/\s/)[0]
    const endMs = Date.now() + 2000
    while (Date.now() < endMs) {
      expect(Number(size())).toBeLessThan(200 * 1024)
      await new Promise((done) => setTimeout(done, 100))
    }
    expect(statSync(replica.data).isDirectory()).toBe(true)
  },
  30_000,
)
