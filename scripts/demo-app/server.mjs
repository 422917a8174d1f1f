/**
 * A web application that knows SQLite and next to nothing about LiteFS: a page of notes.
 *
 *     PORT=8080 DATABASE=/litefs/notes.db node server.mjs
 *
 * All that LiteFS asks of it is to look at `.primary` beside the database before it writes: when
 * the file is there, this node is a replica and the file names the primary.
 */
import { readFileSync } from "node:fs"
import { createServer } from "node:http"
import { dirname, join } from "node:path"
import Database from "better-sqlite3"

const { PORT, DATABASE } = process.env
const HOST = "127.0.0.1"

/** The host and port of the primary, or undefined when this node is the primary. */
function primary() {
  try {
    return readFileSync(join(dirname(DATABASE), ".primary"), "utf8").trim()
  } catch (error) {
    if (error.code === "ENOENT") return undefined
    throw error
  }
}

let connection

/** One connection for as long as the program runs, or undefined: a replica may have nothing yet. */
function database() {
  if (connection !== undefined) return connection
  const isReplica = primary() !== undefined
  try {
    connection = new Database(DATABASE, { fileMustExist: isReplica, timeout: 5000 })
  } catch (error) {
    if (isReplica && error.code === "SQLITE_CANTOPEN") return undefined
    throw error
  }
  if (!isReplica) {
    connection.pragma("journal_mode = WAL")
    connection.exec(
      `CREATE TABLE IF NOT EXISTS notes
         (id INTEGER PRIMARY KEY, text TEXT NOT NULL, at TEXT NOT NULL)`,
    )
  }
  return connection
}

function notes() {
  try {
    return database()?.prepare("SELECT id, text, at FROM notes ORDER BY id DESC").all() ?? []
  } catch (error) {
    if (/no such table/.test(error.message)) return []
    throw error
  }
}

function addNote(text) {
  const at = new Date().toISOString()
  database().prepare("INSERT INTO notes (text, at) VALUES (?, ?)").run(text, at)
}

async function respond(request) {
  const url = new URL(request.url, `http://${HOST}`)
  if (url.pathname !== "/" && url.pathname !== "/notes") {
    return {
      status: 404,
      body: page("Not found", "<p>There is only <a href='/'>one page</a>.</p>"),
    }
  }
  if (request.method === "GET") return { status: 200, body: notesPage() }
  if (request.method !== "POST" || url.pathname !== "/notes") {
    return { status: 405, body: page("Not allowed", "<p>Notes are added at /notes.</p>") }
  }

  const home = primary()
  if (home !== undefined) return { status: 409, body: replicaPage(`http://${home}`) }
  const text = new URLSearchParams(await textOf(request)).get("text")?.trim()
  if (text) addNote(text)
  return { status: 303, location: "/" }
}

async function textOf(request) {
  request.setEncoding("utf8")
  let text = ""
  for await (const chunk of request) text += chunk
  return text
}

function notesPage() {
  const home = primary()
  const role = home === undefined ? "the primary" : "a replica"
  const list = notes().map(
    ({ text, at }) => `<li>${escaped(text)} <time>${escaped(at)}</time></li>`,
  )
  return page(
    `Notes on ${role}`,
    `<form method="post" action="/notes">
      <input name="text" placeholder="A new note" autofocus required>
      <button>Add</button>
    </form>
    ${list.length > 0 ? `<ul>${list.join("\n")}</ul>` : "<p>There are no notes yet.</p>"}
    ${home === undefined ? "" : primaryLink(`http://${home}`)}`,
  )
}

function replicaPage(url) {
  return page("This is a replica", primaryLink(url))
}

function primaryLink(url) {
  return `<p>Notes are added on the primary: <a href="${escaped(url)}">${escaped(url)}</a></p>`
}

function page(title, body) {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<style>
  body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 3rem auto }
  form { display: flex; gap: .5rem } input { flex: 1 }
  input, button { font: inherit; padding: .4rem .7rem }
  ul { list-style: none; padding: 0 } li { padding: .5rem 0; border-bottom: 1px solid #ddd }
  time { float: right; color: #888; font-size: .8rem }
</style>
<h1>${title}</h1>
${body}
</html>
`
}

function escaped(text) {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}

const server = createServer(async (request, response) => {
  try {
    const { status, body, location } = await respond(request)
    response.writeHead(status, {
      "content-type": "text/html; charset=utf-8",
      ...(location === undefined ? {} : { location }),
    })
    response.end(body)
  } catch (error) {
    console.error(error)
    response.writeHead(500, { "content-type": "text/plain" })
    response.end(`${error.message}\n`)
  }
})

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    server.close()
    server.closeAllConnections()
    connection?.close()
  })
}

server.listen(Number(PORT), HOST, () => console.log(`notes at http://${HOST}:${PORT}`))
