/** `GET /export?name=DB`: the database as a file, as of the position in the header `Litefs-Position`. */
import type { ServerResponse } from "node:http"
import { LitefsError } from "../../lib/errors.ts"
import { Gate } from "../../lib/gate.ts"
import { formatPos } from "../../ltx/pos.ts"
import { databaseNameOf } from "../server/query.ts"
import type { SnapshotSource } from "../streams/snapshot-source.ts"

export interface ExportContext {
  /** Databases as files of their pages. */
  readonly files: SnapshotSource
}

export async function handleExport(
  { files }: ExportContext,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  const file = await files.snapshot(databaseNameOf(url))
  if (file === undefined) throw new LitefsError("not-found", "database not found")
  const news = new Gate() // room to write, or a closed connection
  for (const event of ["drain", "close"]) response.on(event, () => news.open())
  const parts = file.parts[Symbol.asyncIterator]()
  try {
    let part = await parts.next() // before the status, which is to say when nothing can be read
    response.writeHead(200, {
      "Content-Type": "application/octet-stream",
      "Content-Length": file.size,
      "Litefs-Position": formatPos(file.pos),
    })
    for (; part.done !== true; part = await parts.next()) {
      if (response.destroyed) return
      response.write(part.value)
      while (response.writableNeedDrain && !response.destroyed) await news.wait()
    }
  } finally {
    await parts.return?.() // the database is kept as it was no longer
  }
  response.end()
}
