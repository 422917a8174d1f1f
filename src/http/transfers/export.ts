/**
 * `GET /export?name=DB`: the database as a file, as of the position in the header `Litefs-Position`.
 *
 * The database stays frozen until the end. A reader may be slow, but the kernel, which alone knows what the reader
 * takes, cuts it off when it takes nothing for STALL_MS_MAX.
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import { LitefsError } from "../../lib/errors.ts"
import { Gate } from "../../lib/gate.ts"
import { formatPos } from "../../ltx/pos.ts"
import { limitStall } from "../../sys/net/socket.ts"
import { databaseNameOf } from "../server/query.ts"
import { RequestLog, senderOf } from "../server/request-log.ts"
import type { SnapshotSource } from "../streams/snapshot-source.ts"

const log = new RequestLog("export")

export const STALL_MS_MAX = 60_000

export interface ExportContext {
  /** Databases as files of their pages. */
  readonly files: SnapshotSource
  /** How long a reader may take nothing of what is sent. */
  readonly stallMs: number
}

export async function handleExport(
  { files, stallMs }: ExportContext,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  const name = databaseNameOf(url)
  const { socket } = request // undefined once its client has gone
  const sender = senderOf(request)
  const file = await files.snapshot(name)
  if (file === undefined) {
    throw new LitefsError("not-found", `Cannot export "${name}": there is no database of that name`)
  }
  limitStall(socket, stallMs)
  const news = new Gate() // room to write, or a closed connection
  for (const event of ["drain", "close"]) response.on(event, () => news.open())
  const parts = file.parts[Symbol.asyncIterator]()
  try {
    let part = await parts.next() // before the status, which must say when nothing can be read
    response.writeHead(200, {
      "Content-Type": "application/octet-stream",
      "Content-Length": file.size,
      "Litefs-Position": formatPos(file.pos),
    })
    for (; part.done !== true; part = await parts.next()) {
      if (response.destroyed) {
        const message = "the reader of an export has gone, or takes nothing"
        return log.say("info", message, sender, { db: name })
      }
      response.write(part.value)
      while (response.writableNeedDrain && !response.destroyed) await news.wait()
    }
  } finally {
    await parts.return?.() // ends the freeze of the database
  }
  response.end()
}
