/** What the API asks of its clients, over real connections. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { connect } from "node:net"
import { connect as connectTls, type PeerCertificate } from "node:tls"
import { ApiServer, type ApiServerOptions, type Routes } from "../../src/http/server/server.ts"
import { TlsFiles } from "../../src/http/server/tls-files.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { limitStall } from "../../src/sys/net/socket.ts"
import { type CertificatePaths, Certificates } from "../support/certificates.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"
import { RawSocket } from "../support/raw-socket.ts"
import { until } from "../support/until.ts"

const TOKEN = "t0ken-of-the-test"

let called: string[]
const ROUTES: Routes = {
  "/read": {
    async POST(request, response) {
      called.push("read")
      let size = 0
      for await (const part of request) size += (part as Uint8Array).length
      response.end(`${size}`)
    },
  },
  "/late": {
    async POST(request, response) {
      called.push("late")
      let waiting = -1
      const isSame = () => {
        const before = waiting
        waiting = request.readableLength
        return before === waiting
      }
      await until("nothing more comes", isSame, { everyMs: 100 })
      let size = 0
      for await (const part of request) size += (part as Uint8Array).length
      response.end(`${size} ${waiting < 2_000_000}\n`)
    },
  },
  "/begun": { GET: (_, response) => void response.write("x") },
}

async function serve(options: Partial<ApiServerOptions>) {
  called = []
  const given = { headers: {}, authToken: undefined, tls: undefined, clock: systemClock }
  const server = new ApiServer(ROUTES, { ...given, ...options })
  const port = await server.listen({ host: "127.0.0.1", port: 0 })
  return { port, [Symbol.asyncDispose]: () => server.close() }
}

describe("ApiServer with a token", () => {
  test.each(["GET /read", "POST /read", "GET /nothing", "OPTIONS /read"])(
    "ApiServer answers 401 to %s without it",
    async (line) => {
      await using server = await serve({ authToken: TOKEN })
      const [method = "", path] = line.split(" ")
      const url = `http://127.0.0.1:${server.port}${path}`
      for (const headers of [{}, { Authorization: "Bearer wrong" }] as Record<string, string>[]) {
        const response = await fetch(url, { method, headers })
        expect([response.status, response.headers.get("www-authenticate")]).toEqual([401, "Bearer"])
        expect(await response.text()).toMatch(/^unauthorized: .*\n$/)
      }
      expect(called).toEqual([])
    },
  )

  test("ApiServer serves whoever shows it", async () => {
    await using server = await serve({ authToken: TOKEN })
    const response = await fetch(`http://127.0.0.1:${server.port}/read`, {
      method: "POST",
      headers: { Authorization: `Bearer ${TOKEN}` },
      body: new Uint8Array(100_000),
    })
    expect([response.status, await response.text()]).toEqual([200, "100000"])
  })

  test("ApiServer refuses one of many requests without it that come together, and hangs up", async () => {
    using log = new LogLines()
    await using server = await serve({ authToken: TOKEN })
    const socket = await RawSocket.connect(server.port)
    socket.write("GET /read HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(5000))
    expect((await socket.ended()).split("HTTP/1.1 ").length - 1).toBeLessThan(2)
    expect(log.text).toMatch(/closed a connection: it sent a request before .*from=127\.0\.0\.1/)
  })

  test("ApiServer refuses a body without having read it, and hangs up", async () => {
    await using server = await serve({ authToken: TOKEN })
    const socket = connect(server.port, "127.0.0.1")
    const head = "POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n"
    socket.write(head)
    socket.on("error", () => {}) // the connection may be reset
    let text = ""
    socket.on("data", (bytes) => {
      text += bytes
    })
    await new Promise<void>((done) => socket.on("close", () => done()))
    expect(text).toStartWith("HTTP/1.1 401 ")
    expect(called).toEqual([])
  })

  test("ApiServer logs no token", async () => {
    using log = new LogLines()
    await using server = await serve({ authToken: TOKEN })
    const headers = { Authorization: "Bearer a-token-of-somebody" }
    await fetch(`http://127.0.0.1:${server.port}/read`, { headers })
    expect(log.lines.join("\n")).not.toMatch(/t0ken|somebody/)
  })
})

describe("ApiServer with certificates", () => {
  let certificates: Certificates
  let strangers: Certificates
  const pairs: Record<string, CertificatePaths> = {}
  beforeAll(() => {
    certificates = new Certificates()
    strangers = new Certificates("somebody else")
    for (const name of ["server", "next", "client"]) pairs[name] = certificates.make(name)
    pairs.stranger = strangers.make("stranger")
  })
  afterAll(() => {
    certificates[Symbol.dispose]()
    strangers[Symbol.dispose]()
  })

  function filesOf(name: string, authority?: Certificates): TlsFiles {
    const { cert, key } = pairs[name] as CertificatePaths
    const ca = authority === undefined ? {} : { caPath: authority.ca }
    return new TlsFiles({ certPath: cert, keyPath: key, ...ca })
  }

  async function post(port: number, tls: object): Promise<string> {
    const init = { method: "POST", body: new Uint8Array(500_000), tls, keepalive: false }
    return (await fetch(`https://127.0.0.1:${port}/read`, init)).text()
  }

  test("ApiServer speaks TLS to clients that believe its authority, and to no others", async () => {
    await using server = await serve({ tls: filesOf("server") })
    const { ca } = new TlsFiles({ caPath: certificates.ca }).current()
    expect(await post(server.port, { ca })).toBe("500000")
    await expect(post(server.port, {})).rejects.toThrow("certificate")
    const foreign = new TlsFiles({ caPath: strangers.ca }).current()
    await expect(post(server.port, foreign)).rejects.toThrow("certificate")
  })

  test("ApiServer handles one of many requests that come together in TLS, and those after an answer", async () => {
    using log = new LogLines()
    await using server = await serve({ tls: filesOf("server") })
    const secure = () => {
      const options = { port: server.port, host: "127.0.0.1", rejectUnauthorized: false }
      return new RawSocket(connectTls(options))
    }
    const request = "POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nxx"
    const [patient, impatient] = [secure(), secure()]
    for (let count = 1; count <= 20; count++) {
      patient.text = ""
      patient.write(request)
      await patient.until(/\r\n\r\n2$/)
    }
    patient.destroy()
    expect([called.length, log.lines]).toEqual([20, []])
    impatient.write(request.repeat(5000))
    await impatient.ended()
    expect([called.length, log.lines.length]).toEqual([21, 1])
  })

  test.each(["TLS", "plain"])(
    "ApiServer holds little of a body that is not read (%s)",
    async (kind) => {
      const isSecure = kind === "TLS"
      await using server = await serve(isSecure ? { tls: filesOf("server") } : {})
      const options = { port: server.port, host: "127.0.0.1", rejectUnauthorized: false }
      const socket = new RawSocket(isSecure ? connectTls(options) : connect(options))
      const size = 32_000_000
      for (let count = 1; count <= 2; count++) {
        socket.text = ""
        socket.write(`POST /late HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${size}\r\n\r\n`)
        socket.socket.write(new Uint8Array(size))
        expect(await socket.until(/\n$/)).toEndWith(`\r\n\r\n${size} true\n`)
      }
      socket.destroy()
    },
  )

  test("ApiServer with an authority serves only whom that has signed", async () => {
    await using server = await serve({ tls: filesOf("server", certificates) })
    const { ca } = new TlsFiles({ caPath: certificates.ca }).current()
    expect(await post(server.port, filesOf("client", certificates).current())).toBe("500000")
    called = []
    await expect(post(server.port, { ca })).rejects.toThrow()
    const stranger = { ...filesOf("stranger").current(), ca }
    await expect(post(server.port, stranger)).rejects.toThrow()
    expect(called).toEqual([])
  })

  test("ApiServer gives up on a TLS client that takes nothing any more", async () => {
    const closed = Promise.withResolvers<void>()
    const isLimited = Promise.withResolvers<boolean>()
    const routes: Routes = {
      "/": {
        GET(request, response) {
          isLimited.resolve(limitStall(request.socket, 500))
          response.on("close", () => closed.resolve())
          const fill = () => void response.write(new Uint8Array(256 * 1024))
          response.on("drain", fill)
          fill()
        },
      },
    }
    const options = { headers: {}, authToken: undefined, clock: new FakeClock() }
    const server = new ApiServer(routes, { ...options, tls: filesOf("server") })
    const port = await server.listen({ host: "127.0.0.1", port: 0 })
    const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false }, () => {
      socket.pause()
      socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    })
    socket.on("error", () => {})
    socket.pause()
    expect(await isLimited.promise).toBe(true)
    await closed.promise
    socket.destroy()
    await server.close()
  }, 30_000)

  test("ApiServer asks for the token within TLS too", async () => {
    await using server = await serve({
      tls: filesOf("server", certificates),
      authToken: TOKEN,
    })
    const tls = filesOf("client", certificates).current()
    expect(await post(server.port, tls)).toMatch(/^unauthorized/)
  })

  test("ApiServer shows a certificate that has changed to the next connection", async () => {
    using _ = new LogLines()
    const clock = new FakeClock()
    const served = certificates.make("served")
    const tls = new TlsFiles({ certPath: served.cert, keyPath: served.key })
    await using server = await serve({ tls, clock })
    expect(await nameShown(server.port)).toBe("served")
    certificates.replace(served, pairs.next as CertificatePaths)
    clock.advance(5000)
    expect(await nameShown(server.port)).toBe("next")
  })

  test("ApiServer.close() ends TLS connections that are not over", async () => {
    const server = new ApiServer(ROUTES, {
      headers: {},
      authToken: undefined,
      tls: filesOf("server"),
      clock: new FakeClock(),
    })
    const port = await server.listen({ host: "127.0.0.1", port: 0 })
    const { ca } = new TlsFiles({ caPath: certificates.ca }).current()
    const init = { tls: { ...(ca === undefined ? {} : { ca }) } }
    const response = await fetch(`https://127.0.0.1:${port}/begun`, init)
    await server.close()
    await expect(response.text()).rejects.toThrow()
  })

  test("ApiServer.close() does not wait for handshakes that never come", async () => {
    const options = { headers: {}, authToken: undefined, clock: new FakeClock() }
    const server = new ApiServer(ROUTES, { ...options, tls: filesOf("server") })
    const port = await server.listen({ host: "127.0.0.1", port: 0 })
    const socket = connect(port, "127.0.0.1")
    socket.on("error", () => {})
    await new Promise<void>((done) => socket.once("connect", () => done()))
    // Whoever comes later is served: by then the silent one has been accepted.
    await nameShown(port)
    const closed = new Promise<void>((done) => socket.on("close", () => done()))
    await server.close()
    await closed
  })

  async function nameShown(port: number): Promise<string | string[] | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<PeerCertificate>()
    const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false }, () =>
      resolve(socket.getPeerCertificate()),
    )
    socket.on("error", reject)
    const { subject } = await promise.finally(() => socket.destroy())
    return subject.CN
  }
})
