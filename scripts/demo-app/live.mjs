/** What reaches the page while it is open: events when the database changes, and a WebSocket that answers. */
import { createHash } from "node:crypto"
import { notes, version } from "./database.mjs"

const LOOK_MS = 100

const listeners = new Set()
let lastVersion
let lastNote
let timer

/** Events for as long as the client listens: each note that comes, on whichever node it was added. */
export function sendEvents(response) {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" })
  response.write(`data: listening to process ${process.pid}\n\n`)
  listeners.add(response)
  if (timer === undefined) {
    lastNote = notes()[0]?.id ?? 0
    timer = setInterval(look, LOOK_MS)
  }
  response.on("close", () => {
    listeners.delete(response)
    if (listeners.size > 0) return
    clearInterval(timer)
    timer = undefined
  })
}

/** Our own notes change no version of ours, so whoever adds one says so. */
export function noteAdded() {
  lastVersion = undefined
}

function look() {
  const now = version()
  if (now === lastVersion) return
  lastVersion = now
  const found = notes().filter(({ id }) => id > lastNote)
  for (const { id, name, text } of found.reverse()) {
    lastNote = id
    const line = `${name}: ${text}`.replace(/\s+/g, " ")
    for (const listener of listeners) listener.write(`data: ${line}\n\n`)
  }
}

/** RFC 6455, for text of one small frame. */
export function echo(request, socket) {
  const accept = createHash("sha1")
    .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64")
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  )
  let unread = Buffer.alloc(0)
  socket.on("error", () => {})
  socket.on("data", (bytes) => {
    unread = Buffer.concat([unread, bytes])
    while (unread.length >= 6 && unread.length >= 6 + (unread[1] & 0x7f)) {
      const end = 6 + (unread[1] & 0x7f)
      const [opcode, mask, masked] = [
        unread[0] & 0x0f,
        unread.subarray(2, 6),
        unread.subarray(6, end),
      ]
      unread = unread.subarray(end)
      const text = masked.map((byte, index) => byte ^ mask[index % 4])
      if (opcode === 8 || end > 126) return socket.end(frame(8, Buffer.alloc(0)))
      if (opcode === 1) socket.write(frame(1, Buffer.from(`heard “${text}”`)))
    }
  })
}

function frame(opcode, payload) {
  const size = Math.min(payload.length, 125)
  return Buffer.concat([Buffer.from([0x80 | opcode, size]), payload.subarray(0, size)])
}
