/**
 * A web application that knows SQLite and next to nothing about LiteFS: notes, files, and who is signed in.
 *
 *     PORT=8080 DATABASE=/litefs/notes.db node server.mjs
 *
 *   database.mjs   what it keeps
 *   page.mjs       what it shows
 *   live.mjs       what reaches an open page: events, a WebSocket
 */
import { createServer } from "node:http"
import * as db from "./database.mjs"
import { echo, noteAdded, sendEvents } from "./live.mjs"
import { escaped, notesPage, page, replicaPage } from "./page.mjs"

const { PORT } = process.env
const HOST = "127.0.0.1"
const FILE_SIZE_MAX = 16 * 1024 * 1024

const HTML = { "content-type": "text/html; charset=utf-8" }

/** Who is asked for something they cannot do. */
class Refusal extends Error {
  constructor(status, title, text) {
    super(text)
    this.status = status
    this.title = title
  }
}

const ROUTES = {
  "GET /": (request, response) => {
    const [home, name] = [db.primary(), db.nameOf(sessionOf(request))]
    const body = notesPage({ home, name, notes: db.notes(), files: db.files(), node: process.pid })
    response.writeHead(200, { ...HTML, "cache-control": "no-store" }).end(body)
  },
  "POST /notes": async (request, response) => {
    const text = (await formOf(request)).get("text")?.trim()
    if (text) db.addNote(db.nameOf(sessionOf(request)) ?? "somebody", text)
    noteAdded()
    seeOther(response)
  },
  "POST /session": async (request, response) => {
    const name = (await formOf(request)).get("name")?.trim() || "somebody"
    seeOther(response, `session=${db.signIn(name)}; HttpOnly; SameSite=Lax; Path=/`)
  },
  "POST /session/end": (request, response) => {
    db.signOut(sessionOf(request))
    seeOther(response, "session=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0")
  },
  "POST /files": async (request, response, url) => {
    db.addFile(url.searchParams.get("name") || "file", await bodyOf(request, FILE_SIZE_MAX))
    response.writeHead(201).end()
  },
  "GET /files": (_, response, url) => {
    const file = db.file(Number(url.pathname.split("/")[2]))
    if (file === undefined) throw new Refusal(404, "Not found", "There is no such file.")
    const name = encodeURIComponent(file.name)
    response.writeHead(200, {
      "content-type": "application/octet-stream",
      "content-disposition": `attachment; filename*=UTF-8''${name}`,
    })
    response.end(file.content)
  },
  "GET /events": (_, response) => sendEvents(response),
}

async function respond(request, response) {
  const url = new URL(request.url, `http://${HOST}`)
  const path = url.pathname.replace(/^(\/files)\/\d+$/, "$1")
  const route = ROUTES[`${request.method} ${path}`]
  if (route === undefined) {
    throw new Refusal(404, "Not found", "There is only one page, at /.")
  }
  const home = request.method === "GET" ? undefined : db.primary()
  if (home !== undefined) return response.writeHead(409, HTML).end(replicaPage(home))
  await route(request, response, url)
}

function sessionOf(request) {
  return /(?:^|;\s*)session=([^;]+)/.exec(request.headers.cookie ?? "")?.[1]
}

async function formOf(request) {
  return new URLSearchParams(String(await bodyOf(request, 64 * 1024)))
}

async function bodyOf(request, sizeMax) {
  const parts = []
  let size = 0
  for await (const part of request) {
    size += part.length
    if (size > sizeMax) throw new Refusal(413, "Too large", `At most ${sizeMax} bytes.`)
    parts.push(part)
  }
  return Buffer.concat(parts)
}

function seeOther(response, cookie) {
  response.writeHead(303, { location: "/", ...(cookie && { "set-cookie": cookie }) }).end()
}

const server = createServer(async (request, response) => {
  try {
    await respond(request, response)
  } catch (error) {
    if (!(error instanceof Refusal)) console.error(error)
    const { status = 500, title = "Something is wrong", message } = error
    if (response.headersSent) response.destroy()
    else response.writeHead(status, HTML).end(page(title, `<p>${escaped(message)}</p>`))
  }
})

const sockets = new Set()
server.on("upgrade", (request, socket) => {
  if (request.url !== "/echo") return socket.destroy()
  sockets.add(socket)
  socket.on("close", () => sockets.delete(socket))
  echo(request, socket)
})

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    server.close(db.close) // when nobody is connected any more
    server.closeAllConnections()
    for (const socket of sockets) socket.destroy()
  })
}

server.listen(Number(PORT), HOST, () => console.log(`notes at http://${HOST}:${PORT}`))
