/**
 * `GET /export?name=DB`: the database as a file, as of the position in the header `Litefs-Position`.
 *
 * The database stays frozen until the end. A reader may be slow, but it is cut off when it takes nothing for STALL_MS_MAX
 * (server/body-writer.ts).
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { formatPos } from "../../ltx/pos.ts"
import { BodyWriter } from "../server/body-writer.ts"
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
  readonly clock: Clock
}

export async function handleExport(
  { files, stallMs, clock }: ExportContext,
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
  let isCut = false
  const onCut = (problem: string) => {
    isCut = true
    log.say("warn", "ended an export that is not read", sender, { db: name, problem })
  }
  const body = new BodyWriter(response, socket, { clock, stallMs, onCut })
  const parts = file.parts[Symbol.asyncIterator]()
  try {
    let part = await parts.next() // before the status, which must say when nothing can be read
    response.writeHead(200, {
      "Content-Type": "application/octet-stream",
      "Content-Length": file.size,
      "Litefs-Position": formatPos(file.pos),
    })
    for (; part.done !== true; part = await parts.next()) {
      await body.write(part.value)
      if (body.isClosed) {
        if (!isCut) log.say("info", "the reader of an export has gone", sender, { db: name })
        return
      }
    }
  } finally {
    await parts.return?.() // ends the freeze of the database
  }
  body.end()
}
