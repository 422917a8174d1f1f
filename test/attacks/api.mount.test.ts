/** What strangers send to the API of a node: pages of a browser, and whoever reaches its port. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { once } from "node:events"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { hostname } from "node:os"
import { join } from "node:path"
import { failureOf, pos, sqlite3 } from "../support/client.ts"
import { ltxFile, page } from "../support/ltx-file.ts"
import { canMount, freePort, PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { infoOf } from "../support/node-api.ts"
import { RawSocket } from "../support/raw-socket.ts"

/** The whole answer to what was written, as far as it has come after a moment. */
async function answerTo(node: TestNode, request: string): Promise<string> {
  const socket = await RawSocket.connect(node.port)
  socket.write(request)
  const answer = await socket.until("\r\n\r\n")
  socket.destroy()
  return answer
}

function request(line: string, ...fields: string[]): string {
  return [`${line} HTTP/1.1`, ...fields, "Content-Length: 0", "", ""].join("\r\n")
}

async function statusOf(node: TestNode, line: string, ...fields: string[]): Promise<number> {
  return Number((await answerTo(node, request(line, ...fields))).split(" ")[1])
}

describe.skipIf(!canMount)("a node without a token", () => {
  let scope: Scope
  let node: TestNode
  beforeAll(async () => {
    scope = new Scope()
    node = await scope.node({ flags: ["--advertise-url", "http://node.example:20202"] })
    sqlite3(node, "a.db", "create table t(x); insert into t values(1)")
  }, 30_000)
  afterAll(async () => {
    await expectWritable()
    await scope[Symbol.asyncDispose]()
  })

  async function expectWritable(): Promise<void> {
    sqlite3(node, "a.db", "insert into t values(2)")
    expect(await infoOf(node)).toMatchObject({ role: "primary" })
  }

  const HOST = "Host: 127.0.0.1:20202"

  test.each([
    ["POST /import?name=a.db", [HOST, "Origin: http://evil.example", "Content-Type: text/plain"]],
    ["POST /halt?name=a.db&id=1&ttl=300000", [HOST, "Origin: null"]],
    ["POST /promote?force=true", [HOST, "Origin: http://127.0.0.1:20202"]],
    ["OPTIONS /import?name=a.db", [HOST, "Origin: http://evil.example"]],
    ["GET /export?name=a.db", [HOST, "Origin:"]],
    ["GET /info", [HOST, "Sec-Fetch-Site: cross-site"]],
    ["GET /info", [HOST, "Sec-Fetch-Site: same-site"]],
    ["GET /info", [HOST, "Sec-Fetch-Site: same-origin"]],
    ["GET /export?name=a.db", ["Host: evil.example"]],
    ["GET /export?name=a.db", ["Host: evil.example:20202"]],
    ["GET /export?name=a.db", ["Host: localhost.evil.example"]],
    ["GET /export?name=a.db", ["Host: 127.0.0.1.evil.example"]],
    ["GET /export?name=a.db", ["Host: 127.0.0.1@evil.example"]],
    ["GET /export?name=a.db", ["Host: [::1].evil.example"]],
    ["GET /nothing", ["Host: evil.example"]],
  ])("answers 403 to a web page: %s with %p", async (line, fields) => {
    const answer = await answerTo(node, request(line, ...fields))
    expect(answer).toStartWith("HTTP/1.1 403 ")
    expect(answer).toContain("forbidden: a web page may have sent this request")
  })

  test.each([
    [["Host: localhost"]],
    [["Host: LocalHost:20202"]],
    [["Host: 127.0.0.1"]],
    [["Host: [::1]:20202"]],
    [["Host: 10.1.2.3:20202"]],
    [[`Host: ${hostname()}`]],
    [["Host: node.example:20202"]],
    [["Host: localhost", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"]],
  ])("answers to who is no page: %p", async (fields) => {
    expect(await statusOf(node, "GET /export?name=a.db", ...fields)).toBe(200)
  })

  test("answers 400 to two hosts, and to a target that is another host", async () => {
    expect(await statusOf(node, "GET /info", HOST, "Host: evil.example")).toBe(400)
    expect(await statusOf(node, "GET http://evil.example/info", HOST)).toBe(400)
    expect(await statusOf(node, "GET //evil.example/info", HOST)).toBe(404)
  })

  test("serves programs, which send no such headers", async () => {
    expect((await fetch(`${node.url}/info`, { method: "GET" })).status).toBe(200)
    const posted = await fetch(`${node.url}/promote`, { method: "POST", body: "x" })
    expect(posted.status).toBe(200) // it is the primary already
  })

  test.each(["xchunked", "gzip, chunked", "identity"])(
    "does not guess where a body in %s ends",
    async (encoding) => {
      const head = `POST /promote HTTP/1.1\r\n${HOST}\r\nTransfer-Encoding: ${encoding}\r\n\r\n`
      const socket = await RawSocket.connect(node.port)
      socket.write(`${head}3\r\nabc\r\n0\r\n\r\nGET /info HTTP/1.1\r\n${HOST}\r\n\r\n`)
      const answers = await socket.ended()
      socket.destroy()
      // One that is no request of its own for the parser is another that comes too early, which ends the connection.
      expect(answers).toMatch(/^(?:HTTP\/1\.1 (?:501|400) |$)/)
      expect(answers.match(/HTTP\/1\.1 \d+/g) ?? []).toHaveLength(answers === "" ? 0 : 1)
    },
  )

  // --- lease records ---

  const EVIL = { id: "E".repeat(16), hostname: "evil", url: "http://127.0.0.1:1" }

  async function clusterOf(): Promise<string> {
    return (
      /litefs-cluster-id: (\S+)/i.exec(await answerTo(node, request("GET /info", HOST)))?.[1] ?? ""
    )
  }

  function lease(epoch: number, cluster: string | undefined, primary: object = EVIL): string {
    return `Litefs-Lease: ${JSON.stringify({ epoch, ...primary, cluster })}`
  }

  test.each(["GET /info", "GET /metrics", "GET /health", "POST /promote", "GET /nothing"])(
    "believes no lease record that comes with %s",
    async (line) => {
      const fields = [HOST, "Litefs-Id: EEEEEEEEEEEEEEEE", "Litefs-Run: 1"]
      await answerTo(node, request(line, ...fields, lease(2 ** 53 - 1, await clusterOf())))
      await answerTo(node, request(line, ...fields, lease(1, await clusterOf())))
      await expectWritable()
    },
  )

  test.each(["POST /lease", "POST /stream", "POST /handoff?token=x", "POST /halt?name=a.db&id=1"])(
    "believes with %s no node of another cluster, and no epoch that is far off",
    async (line) => {
      const ours = await clusterOf()
      for (const record of [
        lease(1, undefined),
        lease(1, "LFSC0000000000000000"),
        lease(2 ** 53 - 1, ours),
        lease(2 ** 48, ours),
        lease(2 ** 16 + 1, ours),
        lease(0, ours),
        lease(-1, ours),
        lease(1.5, ours),
        lease(1, ours, { ...EVIL, id: "x" }),
        lease(1, ours, { ...EVIL, url: "javascript:1" }),
        `Litefs-Lease: ${"[".repeat(4000)}`,
      ]) {
        const raw = await RawSocket.connect(node.port)
        raw.write(request(line, HOST, "Litefs-Id: EEEEEEEEEEEEEEEE", record))
        await raw.until("\r\n\r\n")
        raw.destroy()
      }
      await answerTo(node, request("DELETE /halt?name=a.db&id=1", HOST))
      await expectWritable()
    },
  )

  test.each(["POST /lease", "POST /stream", "POST /handoff?token=x", "POST /halt?name=a.db&id=1"])(
    "believes with %s no record without a seal, unless the node that it names says so",
    async (line) => {
      const cluster = await clusterOf()
      const { id } = JSON.parse(readFileSync(join(node.data, "lease.json"), "utf8"))
      const stranger = createServer((_, response) => response.writeHead(200, {}).end())
      stranger.listen(0, "127.0.0.1")
      await once(stranger, "listening")
      const url = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}`
      for (const record of [
        lease(1, cluster),
        lease(65_000, cluster),
        lease(1, cluster, { ...EVIL, seal: "0".repeat(64) }),
        lease(1, cluster, { ...EVIL, seal: 1 }),
        lease(1, cluster, { ...EVIL, url }),
        lease(1, cluster, { ...EVIL, url: node.url }),
        lease(1, cluster, { ...EVIL, id, url: "http://node.example:20202" }),
      ]) {
        const raw = await RawSocket.connect(node.port)
        raw.write(request(line, HOST, "Litefs-Id: EEEEEEEEEEEEEEEE", record))
        await raw.until("\r\n\r\n")
        raw.destroy()
      }
      await answerTo(node, request("DELETE /halt?name=a.db&id=1", HOST))
      await node.logged(
        /which is not believed.* from=\S*127\.0\.0\.1 .*url=http:\/\/127\.0\.0\.1:1 /,
      )
      await node.logged(/not believed.* problem="another node is there"/)
      stranger.close()
      await expectWritable()
      expect(JSON.parse(readFileSync(join(node.data, "lease.json"), "utf8")).epoch).toBeUndefined()
    },
  )

  test("goes on when somebody says that its id is another's", async () => {
    const { id } = JSON.parse(readFileSync(join(node.data, "lease.json"), "utf8"))
    const cluster = await clusterOf()
    for (const fields of [[], [`Litefs-Id: ${id}`, "Litefs-Run: 1"]]) {
      const mine = { ...EVIL, id }
      await answerTo(node, request("POST /lease", HOST, ...fields, lease(1, cluster, mine)))
      await answerTo(node, request("GET /info", HOST, ...fields, lease(1, cluster, mine)))
    }
    await new Promise((done) => setTimeout(done, 500))
    expect(node.isRunning).toBe(true)
    await expectWritable()
  })

  // --- crowds ---

  test.each([
    ["POST /stream", 256, []],
    ["POST /import?name=b.db", 16, ["Content-Length: 4096"]],
  ])(
    "takes so many at a time, and answers 503 to one more: %s",
    async (line, countMax, fields) => {
      const text = [
        `${line} HTTP/1.1`,
        HOST,
        ...(fields.length === 0 ? ["Content-Length: 4"] : fields),
      ]
      const head = `${text.join("\r\n")}\r\n\r\n`
      const body = line.includes("stream") ? "\0\0\0\0" : "SQLite"
      const sockets: RawSocket[] = []
      const begin = async () => {
        const socket = await RawSocket.connect(node.port)
        sockets.push(socket)
        socket.write(head + body)
        return socket
      }
      for (let count = 0; count < countMax; count++) await begin()
      await Bun.sleep(1000)
      const problem = `there are ${countMax} such requests, and no more are taken at a time`
      expect(await (await begin()).until("\r\n\r\n")).toMatch(/^HTTP\/1\.1 503 /)
      await node.logged(new RegExp(`level=warn .*${problem}`))
      await expectWritable()
      for (const socket of sockets) socket.destroy()
      for (const endMs = Date.now() + 5000; Date.now() < endMs; await Bun.sleep(100)) {
        const socket = await begin()
        await Bun.sleep(200)
        if (!socket.text.includes(" 503 ")) return socket.destroy()
      }
      throw new Error("it takes no more, though there is room")
    },
    60_000,
  )

  // --- transactions of other nodes ---

  test("reads nothing of a transaction whose sender has no lock", async () => {
    const before = residentSize(node)
    const sockets = await Promise.all([1, 2, 3, 4].map(() => RawSocket.connect(node.port)))
    const sizes = await Promise.all(
      sockets.map(async (socket) => {
        socket.write(
          `POST /tx?name=a.db&lockID=1 HTTP/1.1\r\n${HOST}\r\nContent-Length: 1073741824\r\n\r\n`,
        )
        const part = "x".repeat(1024 * 1024)
        for (let count = 0; count < 100 && !socket.isClosed && !socket.hasEnded; count++) {
          socket.write(part)
          await new Promise((done) => setTimeout(done, 5))
        }
        const text = await socket.ended()
        expect(text).toStartWith("HTTP/1.1 409 ")
        return socket.socket.bytesWritten
      }),
    )
    expect(Math.max(...sizes)).toBeLessThan(1024 * 1024 * 1024)
    expect(residentSize(node) - before).toBeLessThan(128 * 1024 * 1024)
  })

  async function lent(id: number): Promise<{ txid: bigint; checksum: bigint }> {
    expect(await statusOf(node, `POST /halt?name=a.db&id=${id}`, HOST)).toBe(200)
    const [txid, checksum] = pos(node, "a.db").split("/")
    return { txid: BigInt(`0x${txid}`), checksum: BigInt(`0x${checksum}`) }
  }

  async function send(id: number, bytes: Uint8Array): Promise<string> {
    const body = new Uint8Array(bytes)
    const response = await fetch(`${node.url}/tx?name=a.db&lockID=${id}`, { method: "POST", body })
    return `${response.status} ${await response.text()}`
  }

  test.each<[string, RegExp, Parameters<typeof ltxFile>[0]]>([
    ["a drop", /^400 .*it drops the database/, { header: { commit: 0 }, pages: [] }],
    [
      "one page of 2^28",
      /^\d+ .*it says that the database has 268435456 pages/,
      { header: { commit: 2 ** 28, pageSize: 4096 }, pages: [page(1, 0, 4096)] },
    ],
    [
      "a page more than there are",
      /^\d+ .*it says that the database has \d+ pages, and \d+ new ones are not in it/,
      { header: { commit: 20, pageSize: 4096 }, pages: [page(1, 0, 4096)] },
    ],
    [
      "a snapshot",
      /^(400 .*makes the database|409 .*follows on)/,
      { header: { minTxid: 1n, preApplyChecksum: 0n, commit: 1 }, pages: [page(1, 0)] },
    ],
    ["another position", /^409 .*follows on/, { header: { minTxid: 99n }, pages: [page(1, 0)] }],
  ])("takes no %s from who has a lock", async (_, refusal, spec) => {
    const at = await lent(7)
    const { minTxid = at.txid + 1n } = spec.header ?? {}
    const header = { minTxid, maxTxid: minTxid, preApplyChecksum: at.checksum, ...spec.header }
    const answer = await send(7, ltxFile({ ...spec, header, postApplyChecksum: 1n << 63n }))
    expect(await statusOf(node, "DELETE /halt?name=a.db&id=7", HOST)).toBe(200)
    expect(answer).toMatch(refusal)
    expect(sqlite3(node, "a.db", "pragma integrity_check; select x from t limit 1")).toBe("ok\n1")
  })

  test("answers 400 to a transaction with a damaged block, and shows no path of this machine", async () => {
    const at = await lent(9)
    const header = {
      commit: 2,
      pageSize: 4096,
      minTxid: at.txid + 1n,
      preApplyChecksum: at.checksum,
    }
    const bytes = ltxFile({ header, pages: [page(1, 7, 4096), page(2, 9, 4096)] })
    for (let i = 0; i < 5; i++) {
      const damaged = bytes.slice()
      damaged[150 + i] = (damaged[150 + i] ?? 0) ^ 0xff
      const answer = await send(9, damaged)
      expect(answer).toMatch(/^400 Cannot receive a transaction of "a.db": /)
      expect(answer).not.toContain(node.directory)
    }
    expect(await statusOf(node, "DELETE /halt?name=a.db&id=9", HOST)).toBe(200)
    expect(node.output).not.toContain("request failed")
  })

  test("refuses a name that is not UTF-8, and says who had a database made", async () => {
    for (const line of ["POST /import", "GET /export", "POST /halt", "POST /tx"]) {
      expect(await statusOf(node, `${line}?name=%ff%fe&id=1&lockID=1`, HOST)).toBe(400)
    }
    expect(await statusOf(node, "GET /health?db=%ff", HOST)).toBe(400)
    const name = ["Litefs-Hostname: somebody", HOST]
    expect(await statusOf(node, "POST /halt?name=made.db&id=11", ...name)).toBe(200)
    expect(await statusOf(node, "DELETE /halt?name=made.db&id=11", HOST)).toBe(200)
    await node.logged(
      /level=info tag=halt msg="made a database for a node" db=made.db for=somebody/,
    )
  })

  test("a body that does not start like a transaction is not read to its end", async () => {
    await lent(8)
    const socket = await RawSocket.connect(node.port)
    socket.write(
      `POST /tx?name=a.db&lockID=8 HTTP/1.1\r\n${HOST}\r\nContent-Length: 1073741824\r\n\r\n`,
    )
    socket.write("x".repeat(1000))
    expect(await socket.ended()).toStartWith("HTTP/1.1 400 ")
    socket.destroy()
    await answerTo(node, request("DELETE /halt?name=a.db&id=8", HOST))
  })
})

test.skipIf(!canMount)(
  "a wrong token is answered late, and told of in the log",
  async () => {
    await using scope = new Scope()
    const node = await scope.node({ env: { LITEFS_AUTH_TOKEN: "t0ken-of-the-node" } })
    const startMs = Date.now()
    const headers = { Authorization: "Bearer a-guess-of-somebody" }
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => fetch(`${node.url}/info?x=secret`, { headers })),
    )
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(401))
    expect(Date.now() - startMs).toBeGreaterThan(900)
    await node.logged(
      /level=warn tag=http msg="refused requests with a wrong token" from=\S*127.0.0.1 path=\/info count=1/,
    )
    expect(node.output.match(/wrong token/g)?.length).toBe(1)
    expect(node.output).not.toMatch(/a-guess|secret|t0ken/)
    const right = { Authorization: "Bearer t0ken-of-the-node" }
    expect((await fetch(`${node.url}/info`, { headers: right })).status).toBe(200)
  },
  30_000,
)

test.skipIf(!canMount)(
  "a lease record that cannot be is told of with what to do",
  async () => {
    await using scope = new Scope()
    const node = await scope.node()
    await node.stop()
    const path = join(node.data, "lease.json")
    const known = JSON.parse(readFileSync(path, "utf8"))
    const primary = { id: known.id, hostname: "a", url: node.url }
    writeFileSync(path, JSON.stringify({ ...known, epoch: 2 ** 53, primary }))
    const args = ["mount", "--primary", "--fuse-dir", node.mount, "--data-dir", node.data]
    const failure = failureOf([...PROGRAM, ...args])
    expect(failure).toMatch(
      /^ERROR: Cannot read ".*lease.json": its epoch is 9007199254740992, it should be \d+ at most: take "epoch" and "primary" out of it, here and on every node that has them$/m,
    )
    expect(JSON.parse(readFileSync(path, "utf8")).epoch).toBe(2 ** 53)
  },
  30_000,
)

test.each([
  ["[::ffff:127.0.0.1]", 0],
  ["[0:0:0:0:0:0:0:1]", 0],
  ["[::]", 1],
])(
  "with --http-addr %s a node says %d times that it is open to all",
  async (host, count) => {
    if (!canMount) return
    await using scope = new Scope()
    const port = await freePort()
    const config = `
fuse: { dir: ${scope.directory}/mnt }
data: { dir: ${scope.directory}/data }
http: { addr: "${host}:${port}" }
lease: { type: static, candidate: true }
`
    mkdirSync(join(scope.directory, "mnt"))
    const node = await scope.node({ directory: scope.directory, port, config })
    expect(node.output.match(/anybody who reaches the API/g)?.length ?? 0).toBe(count)
  },
  30_000,
)

/** Bytes. */
function residentSize(node: TestNode): number {
  const status = readFileSync(`/proc/${node.pid}/status`, "utf8")
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1]) * 1024
}
