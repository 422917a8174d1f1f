/**
 * An application like others, behind the proxies of tests: it knows SQLite, and nothing of LiteFS.
 *
 *     PORT=8080 DATABASE=/litefs/app.db JOURNAL_MODE=wal node proxy-app.mjs
 *
 * With APP_VERSION=2 it needs what proxy-migration.mjs does.
 *
 * POST /items     adds the body as an item: its number
 * GET  /items/ID  the item, or 404
 * GET  /          which process this is
 * POST /size      the number of bytes that have come
 * GET  /bytes?N   N bytes
 * GET  /ticks     events, one for each line of what is posted to /tick
 * upgrade /echo   says "hello" and then what it hears (RFC 6455, small text frames only)
 */
import { createHash } from "node:crypto"
import { createServer } from "node:http"
import Database from "better-sqlite3"

const { PORT, JOURNAL_MODE, APP_VERSION = "1" } = process.env
const { DATABASE = `${process.env.LITEFS_FUSE_DIR}/app.db` } = process.env
const listeners = new Set()
let db

function database() {
  db ??= new Database(DATABASE, { fileMustExist: true, timeout: 10_000 })
  return db
}

function add(text) {
  db ??= new Database(DATABASE, { timeout: 10_000 })
  db.pragma(`journal_mode = ${JOURNAL_MODE}`)
  if (APP_VERSION === "1") {
    db.exec("CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    return String(db.prepare("INSERT INTO items (text) VALUES (?)").run(text).lastInsertRowid)
  }
  const sql = "INSERT INTO items (text, version, size) VALUES (?, 2, ?)"
  return String(db.prepare(sql).run(text, text.length).lastInsertRowid)
}

function find(id) {
  try {
    return database().prepare("SELECT text FROM items WHERE id = ?").get(id)?.text
  } catch (error) {
    if (/no such table|unable to open/.test(error.message)) return undefined
    throw error
  }
}

async function textOf(request) {
  let text = ""
  for await (const part of request) text += part
  return text
}

async function answer(request, response) {
  const { pathname, search } = new URL(request.url, "http://app")
  const [, collection, id] = pathname.split("/")
  switch (`${request.method} ${collection}`) {
    case "POST items":
      return response.end(add(await textOf(request)))
    case "GET items": {
      const text = find(id)
      if (text === undefined) response.statusCode = 404
      return response.end(text ?? "no such item")
    }
    case "GET ":
      return response.end(`process ${process.pid}`)
    case "POST size": {
      let size = 0
      for await (const part of request) size += part.length
      return response.end(String(size))
    }
    case "GET bytes": {
      let rest = Number(search.slice(1))
      response.setHeader("Content-Length", rest)
      const part = Buffer.alloc(1 << 20, "0123456789abcdef")
      while (rest > 0 && !response.destroyed) {
        const isTaken = response.write(rest < part.length ? part.subarray(0, rest) : part)
        rest -= Math.min(rest, part.length)
        if (!isTaken) await new Promise((wake) => response.once("drain", wake)) // never, when it is closed
      }
      return response.end()
    }
    case "GET ticks":
      response.writeHead(200, { "Content-Type": "text/event-stream" })
      response.flushHeaders()
      listeners.add(response)
      return response.on("close", () => listeners.delete(response))
    case "POST tick":
      for (const line of (await textOf(request)).split("\n")) {
        for (const listener of listeners) listener.write(`data: ${line}\n\n`)
      }
      return response.end(String(listeners.size))
  }
  response.statusCode = 404
  response.end("no such thing")
}

function frame(text) {
  return Buffer.concat([Buffer.from([0x81, Buffer.byteLength(text)]), Buffer.from(text)])
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    response.statusCode = 500
    response.end(error.message)
  })
})
server.on("upgrade", (request, socket) => {
  const accept = createHash("sha1")
    .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64")
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  )
  socket.write(frame(`hello from ${process.pid}`))
  socket.on("error", () => {})
  socket.on("data", (bytes) => {
    const size = bytes[1] & 0x7f
    if ((bytes[0] & 0x0f) === 8) return socket.end(Buffer.from([0x88, 0]))
    const text = bytes.subarray(6, 6 + size).map((byte, index) => byte ^ bytes[2 + (index % 4)])
    socket.write(frame(text.toString()))
  })
})
server.requestTimeout = 0
server.listen(Number(PORT), "127.0.0.1", () => console.log("app listens"))
