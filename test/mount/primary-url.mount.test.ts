/** A replica whose URL of the primary leads elsewhere says what is wrong and which setting mends it, once. */
import { expect, test } from "bun:test"
import { mkdirSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { hostname } from "node:os"
import { Certificates } from "../support/certificates.ts"
import { caughtUp, failureOf, sqlite3, start } from "../support/client.ts"
import { canMount, freePort, PROGRAM, Scope } from "../support/node.ts"

test.skipIf(!canMount).each([
  ["127.0.0.1", true],
  ["127.0.0.1", false],
  ["localhost", true],
  [hostname(), true],
])("its own, as %s where every interface listens: %p", async (host, isOpen) => {
  await using scope = new Scope()
  const port = await freePort()
  const url = `http://${host}:${port}`
  const node = await scope.spawn({ follows: { url }, port, isOpen })
  const [{ code }, output] = await Promise.all([node.exited, node.wholeOutput])
  expect(output).toContain(
    `ERROR: Cannot start: --primary-url is "${url}", which is this node itself, it should be the URL of the primary`,
  )
  expect(code).toBe(1)
})

test.skipIf(!canMount)("its own, in a litefs.yml that was made for Consul", async () => {
  await using scope = new Scope()
  const directory = `${scope.directory}/n`
  const port = await freePort()
  mkdirSync(`${directory}/mnt`, { recursive: true })
  const config = `fuse: {dir: "${directory}/mnt"}
data: {dir: "${directory}/data"}
http: {addr: ":${port}"}
lease:
  type: static
  advertise-url: "http://127.0.0.1:${port}"
  candidate: false
`
  const node = await scope.spawn({ directory, port, config })
  const [{ code }, output] = await Promise.all([node.exited, node.wholeOutput])
  expect(output).toMatch(
    /ERROR: Cannot start: lease.advertise-url \(litefs.yml:6\) is "http:\/\/127.0.0.1:\d+", which is this node itself/,
  )
  expect(code).toBe(1)
})

test.skipIf(!canMount)("its own, by a way that only the answer shows", async () => {
  await using scope = new Scope()
  const port = await freePort()
  // The listener is at another address than the one that the URL names: a proxy of the machine leads there.
  const relay = createServer((request, response) => {
    void fetch(`http://127.0.0.1:${port}${request.url}`, {
      method: "POST",
      headers: { "Litefs-Id": String(request.headers["litefs-id"]) },
      body: new Uint8Array(4),
    }).then(async (answer) => {
      response.writeHead(answer.status, Object.fromEntries(answer.headers))
      response.end(await answer.text())
    })
  })
  const url = await listening(scope, relay)
  const node = await scope.node({ follows: { url }, port })
  await node.logged(
    /level=error tag=replica .*this node itself answers there: --primary-url should be the URL of the primary/,
  )
  await Bun.sleep(3000)
  expect(node.output.match(/this node itself/g)).toHaveLength(1)
})

test.skipIf(!canMount)("of an application", async () => {
  await using scope = new Scope()
  const app = createServer((_, response) => {
    response.writeHead(404, { "Content-Type": "text/html" })
    response.end("<h1>Cannot POST</h1>")
  })
  const url = await listening(scope, app)
  const problem =
    /it is not LiteFS, it answers with status 404: the port should be that of --http-addr there, 20202/
  const node = await scope.node({ follows: { url } })
  await node.logged(problem)
  await Bun.sleep(2000)
  expect(node.output.match(/it is not LiteFS/g)).toHaveLength(1)
  const { stderr } = await start([...PROGRAM, "info", "--url", url]).ended
  expect(stderr).toMatch(problem)
})

test.skipIf(!canMount)(
  "with http for https, and back, and of an authority of one's own",
  async () => {
    await using scope = new Scope()
    using certificates = new Certificates()
    const { cert, key } = certificates.make("node")
    const secure = await scope.node({ flags: ["--http-tls-cert", cert, "--http-tls-key", key] })
    const plain = await scope.node()
    const https = (port: number) => `https://127.0.0.1:${port}`
    const cases: [url: string, RegExp][] = [
      [secure.url, /it speaks TLS, the URL should start with https:\/\//],
      [https(plain.port), /it does not speak TLS, the URL should start with http:\/\//],
      [https(secure.port), /signed by an authority that is not known here, give --http-tls-ca/],
    ]
    for (const [url, problem] of cases) {
      const node = await scope.node({ follows: { url } })
      await node.logged(problem)
      expect(node.output.match(/level=(warn|error) tag=replica/g)).toHaveLength(1)
      expect(failureOf([...PROGRAM, "info", "--url", url])).toMatch(problem)
      await node.stop()
    }
    const flags = ["--http-tls-ca", certificates.ca]
    const node = await scope.node({ follows: { url: https(secure.port) }, flags })
    await node.logged(/connected to the primary/)
  },
)

test.skipIf(!canMount)("without a port", async () => {
  await using scope = new Scope()
  const node = await scope.node({ follows: { url: "http://127.0.0.1" } })
  await node.logged(
    /nothing listens at 127.0.0.1, and the URL has no port, it should be like http:\/\/127.0.0.1:20202/,
  )
  const { stderr } = await start([...PROGRAM, "info", "--url", "http://127.0.0.1"]).ended
  expect(stderr).toContain("the URL has no port")
})

async function listening(scope: Scope, server: ReturnType<typeof createServer>): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  scope.defer(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test.skipIf(!canMount)(
  "a replica, which says who its primary is",
  async () => {
    await using scope = new Scope()
    const primary = await scope.node()
    const first = await scope.node({ follows: primary })
    const second = await scope.node({ follows: first })
    await second.logged(new RegExp(`${first.url} is a replica, its primary is ${primary.url}`))
    await second.logged(/connected to the primary/)
    sqlite3(primary, "a.db", "create table t(x)")
    await caughtUp(primary, second, "a.db")
    expect(second.output).not.toContain("not connected to the primary")
    await primary.stop()
    await second.logged(
      /not connected to the primary.* problem="it is a replica, and not connected/,
    )
    const again = await scope.node({ directory: primary.directory, port: primary.port })
    sqlite3(again, "a.db", "insert into t values(1)")
    await caughtUp(again, second, "a.db")
  },
  60_000,
)

test.skipIf(!canMount)(
  "that of all nodes, in a litefs.yml without candidate",
  async () => {
    await using scope = new Scope()
    const port = await freePort()
    const config = (at: number) => `fuse: {dir: "mnt"}
data: {dir: "data"}
http: {addr: "127.0.0.1:${at}"}
lease:
  type: static
  advertise-url: "http://127.0.0.1:${port}"
`
    const directory = (name: string) => {
      mkdirSync(`${scope.directory}/${name}/mnt`, { recursive: true })
      return `${scope.directory}/${name}`
    }
    const other = await freePort()
    const refused =
      /ERROR: Cannot be the primary: another node is the primary at http:\S+, .*candidate: false in litefs.yml/
    const first = await scope.node({ directory: directory("a"), port, config: config(port) })
    const second = await scope.spawn({
      ...{ directory: directory("b"), port: other, config: config(other) },
    })
    expect((await second.exited).code).toBe(1)
    expect(await second.wholeOutput).toMatch(refused)

    // The other order: the second comes up while the first is away.
    await first.stop()
    const alone = await scope.node({
      directory: `${scope.directory}/b`,
      port: other,
      config: config(other),
    })
    await alone.logged(/level=warn .*cannot reach this one at the URL that it advertises/)
    const again = await scope.node({ directory: first.directory, port, config: config(port) })
    expect((await alone.exited).code).toBe(1)
    expect(await alone.wholeOutput).toMatch(refused)
    sqlite3(again, "a.db", "create table t(x)")
  },
  60_000,
)
