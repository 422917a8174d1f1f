/**
 * The original's HTTP between nodes, as Node's own `node:http2` speaks it, so that a node of ours has it on both sides:
 *
 *     node http2-bridge.mjs primary PORT TO     HTTP/1.1 ─▶ passed on; POST /stream: 426 ─┐
 *                                               HTTP/2   ─▶ passed on ────────────────────┴─▶ HTTP/1.1 ─▶ TO
 *     node http2-bridge.mjs replica PORT TO     HTTP/1.1 ─▶ HTTP/2, as Go's client sends it ─▶ TO
 *
 * Only the headers of the original pass. Each answer to HTTP/2 is a line of the output: its method, path, status.
 * SIGHUP breaks what is open.
 */
import { Agent, createServer, request as httpRequest } from "node:http"
import { connect, createServer as createHttp2Server } from "node:http2"
import { createServer as createNetServer } from "node:net"

const [side, port, to] = process.argv.slice(2)
const ORIGIN = `http://127.0.0.1:${to}`
const PASSED = ["litefs-id", "litefs-cluster-id", "content-type"]
const sockets = new Set()

function passed(headers) {
  return Object.fromEntries(
    PASSED.flatMap((name) => (headers[name] === undefined ? [] : [[name, headers[name]]])),
  )
}

function say(method, path, status) {
  process.stdout.write(`${method} ${path.replace(/\?.*/, "")} ${status}\n`)
}

/** The server of the original: everything over both, streams over HTTP/2 only. */
function primary() {
  const agent = new Agent({ keepAlive: false })
  const handle = (request, response) => {
    const { method, url } = request
    if (request.httpVersionMajor < 2 && url.startsWith("/stream")) {
      say(method, url, 426)
      response.writeHead(426, {
        "Content-Type": "text/plain; charset=utf-8",
        "Litefs-Id": "00000000000000FF",
      })
      return response.end("Upgrade to HTTP/2 required\n")
    }
    const onward = httpRequest(ORIGIN + url, { method, agent, headers: passed(request.headers) })
    onward.on("response", (answer) => {
      if (request.httpVersionMajor > 1) say(method, url, answer.statusCode)
      response.writeHead(answer.statusCode, passed(answer.headers))
      answer.pipe(response)
      answer.on("error", () => response.stream?.close(2) ?? response.destroy())
    })
    onward.on("error", () => response.stream?.close(2) ?? response.destroy())
    response.on("close", () => onward.destroy())
    request.pipe(onward)
  }
  const http1 = createServer(handle)
  const http2 = createHttp2Server(handle)
  const server = createNetServer((socket) => {
    socket.once("data", (bytes) => {
      socket.pause()
      const isHttp2 = bytes.toString("latin1").startsWith("PRI * HTTP/2.0")
      ;(isHttp2 ? http2 : http1).emit("connection", socket)
      socket.unshift(bytes)
      socket.resume()
    })
  })
  return server
}

/** The client of the original: one connection for all. Without a body a request ends with its head. */
function replica() {
  let session
  const onward = () => {
    if (session === undefined || session.closed || session.destroyed) {
      session = connect(ORIGIN)
      session.on("error", () => {})
      sockets.add(session)
    }
    return session
  }
  return createServer((request, response) => {
    const { method, url, headers } = request
    const isEmpty =
      headers["content-length"] === "0" ||
      (headers["content-length"] ?? headers["transfer-encoding"]) === undefined
    const fields = {
      ":authority": `127.0.0.1:${to}`,
      ":method": method,
      ":path": url,
      ":scheme": "http",
      ...passed(headers),
      ...(url.startsWith("/stream") ? { "content-length": headers["content-length"] } : {}),
      "accept-encoding": "gzip",
      "user-agent": "Go-http-client/2.0",
    }
    const stream = onward().request(fields, { endStream: isEmpty })
    stream.on("response", (answer) => {
      say(method, url, answer[":status"])
      response.writeHead(answer[":status"], passed(answer))
      response.flushHeaders()
      stream.pipe(response)
    })
    stream.on("error", () => response.destroy())
    stream.on("close", () => {
      if (stream.rstCode !== 0) response.destroy()
    })
    response.on("close", () => stream.close(8))
    if (!isEmpty) request.pipe(stream)
  })
}

const server = side === "primary" ? primary() : replica()
server.on("connection", (socket) => {
  sockets.add(socket)
  socket.on("error", () => {})
  socket.once("close", () => sockets.delete(socket))
})
process.on("SIGHUP", () => {
  for (const socket of sockets) socket.destroy()
  sockets.clear()
})
server.listen(Number(port), "127.0.0.1", () => process.stdout.write("ready\n"))
