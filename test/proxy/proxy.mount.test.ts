/** A real application on three nodes, behind their proxies. */
import { describe, expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { canMount, Scope } from "../support/node.ts"
import { ProxyClient, type Site, site, threeSites, writeThenRead } from "../support/proxied-site.ts"
import { rounds, testRandom } from "../support/random.ts"
import { RawSocket } from "../support/raw-socket.ts"
import { until } from "../support/until.ts"

const random = testRandom()

async function text(url: string, init: RequestInit = {}): Promise<string> {
  const response = await fetch(url, init)
  const body = await response.text()
  if (!response.ok) throw new Error(`${url}: ${response.status} ${body}`)
  return body
}

const residentKiB = ({ node }: Site) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${node.pid}/status`, "utf8"))?.[1])

describe.skipIf(!canMount)("behind the proxies of three nodes", () => {
  test("whoever has written reads it on any node, hundreds of times", async () => {
    await using scope = new Scope()
    const sites = await threeSites(scope)
    expect(await writeThenRead(sites, random, rounds(800, 2000))).toEqual([])
    const metrics = await text(`${sites[1].node.url}/metrics`)
    expect(metrics).toMatch(/litefs_proxy_request_seconds_count\{outcome="forwarded"\} \d\d\d/)
    expect(metrics).toMatch(/litefs_proxy_request_seconds_count\{outcome="local"\} \d\d\d/)
    const info = JSON.parse(await text(`${sites[1].node.url}/info`))
    expect(info.primary.proxyURL).toBe(sites[0].url)
    for (const { url } of sites) expect(await text(`${url}/litefs/health`)).toBe("OK\n")
  }, 180_000)

  test("streams, uploads, downloads and WebSockets go through, here and to the primary", async () => {
    await using scope = new Scope()
    const [primary, replica] = await threeSites(scope, ["--proxy-always-forward", "/echo*primary"])

    const events = await fetch(`${replica.url}/ticks`)
    const reader = events.body?.getReader()
    expect(
      await text(`http://127.0.0.1:${replica.appPort}/tick`, { method: "POST", body: "one" }),
    ).toBe("1")
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe("data: one\n\n")
    await reader?.cancel()

    const size = 192 * 1024 * 1024
    await text(`${replica.url}/bytes?1000000`)
    const before = residentKiB(replica) + residentKiB(primary)
    let isOver = false
    let most = 0
    const watching = (async () => {
      while (!isOver) {
        most = Math.max(most, residentKiB(replica) + residentKiB(primary))
        await Bun.sleep(20)
      }
    })()
    const part = new Uint8Array(1 << 20)
    let sent = 0
    const body = new ReadableStream({
      pull(controller) {
        controller.enqueue(part)
        sent += part.length
        if (sent === size) controller.close()
      },
    })
    expect(await text(`${replica.url}/size`, { method: "POST", body })).toBe(String(size)) // in chunks, over two proxies
    let received = 0
    for await (const bytes of (await fetch(`${replica.url}/bytes?${size}`)).body ?? []) {
      received += bytes.length
    }
    isOver = true
    await watching
    expect(received).toBe(size)
    expect(most - before).toBeLessThan((size / 1024) * 0.6) // of two processes, with a garbage collector

    const spoken = async (url: string) => {
      const socket = new WebSocket(url)
      const heard: string[] = []
      const closed = new Promise<void>((done) => socket.addEventListener("close", () => done()))
      socket.addEventListener("message", ({ data }) => {
        heard.push(String(data))
        if (heard.length === 3) socket.close()
        else socket.send(`message ${heard.length}`)
      })
      await closed
      return heard
    }
    const ws = replica.url.replace("http", "ws")
    const pidOf = async (url: string) => (await text(`${url}/`)).replace("process ", "")
    for (const [path, at] of [
      ["/echo", replica],
      ["/echo/primary", primary],
    ] as const) {
      const pid = await pidOf(at.url)
      expect(await spoken(`${ws}${path}`)).toEqual([`hello from ${pid}`, "message 1", "message 2"])
    }
  }, 120_000)

  test("an application that is killed in the middle of its answer, and comes back", async () => {
    await using scope = new Scope()
    const primary = await site(scope)
    const client = await RawSocket.connect(primary.proxyPort)
    client.write("GET /ticks HTTP/1.1\r\nHost: a\r\n\r\n")
    await client.until("event-stream")
    await primary.app.kill()
    await client.until(() => client.isClosed)
    const answer = text(`${primary.url}/items`, { method: "POST", body: "after it" })
    await primary.app.start()
    expect(await answer).toBe("1")
    expect(await text(`${primary.url}/items/1`)).toBe("after it")
  }, 60_000)

  test("a primary that is killed: reads go on, writes wait for it, and none is done twice", async () => {
    await using scope = new Scope()
    const [primary, replica] = await threeSites(scope, ["--proxy-primary-redirect-timeout", "30s"])
    const client = new ProxyClient(true)
    const write = (note: string) =>
      client.ask(`${replica.url}/items`, { method: "POST", body: note })
    expect((await write("one")).text).toBe("1")
    expect((await client.ask(`${replica.url}/items/1`)).text).toBe("one")

    await primary.app.kill()
    await primary.node.stop("SIGKILL")
    expect((await client.ask(`${replica.url}/items/1`)).text).toBe("one")
    const held = write("two")
    const { directory, port } = primary.node
    await primary.node.end()
    await site(scope, undefined, [], { directory, port, proxyPort: primary.proxyPort })
    const { status, text: id } = await held
    expect({ status, id }).toEqual({ status: 200, id: "2" })
    expect((await client.ask(`${replica.url}/items/2`)).text).toBe("two")
    expect((await client.ask(`${replica.url}/items/3`)).status).toBe(404)
  }, 120_000)

  test("a primary that is cut off: what is under way there ends, reads go on, and all is well afterwards", async () => {
    await using scope = new Scope()
    const [primary, replica] = await threeSites(scope, [
      "--proxy-primary-redirect-timeout",
      "500ms",
      "--proxy-read-timeout",
      "500ms",
    ])
    const client = new ProxyClient(true)
    const write = (body: string) => client.ask(`${replica.url}/items`, { method: "POST", body })
    expect((await write("one")).status).toBe(200)
    expect((await client.ask(`${replica.url}/items/1`)).text).toBe("one")
    primary.node.signal("SIGSTOP")
    expect((await write("under way")).status).toBe(502)
    expect((await write("later")).status).toBe(503)
    expect((await client.ask(`${replica.url}/items/1`)).text).toBe("one")
    const headers = { "Litefs-Position": "0000000000000099" }
    expect((await fetch(`${replica.url}/items/1`, { headers })).status).toBe(504)
    primary.node.signal("SIGCONT")
    const last = await until("a write that is taken", async () => {
      const answer = await write("again")
      return answer.status !== 503 && answer
    })
    expect(last.status).toBe(200)
    expect((await client.ask(`${replica.url}/items/${last.text}`)).text).toBe("again")
  }, 120_000)
})
