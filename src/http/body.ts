import type { IncomingMessage } from "node:http"
import { LitefsError } from "../lib/errors.ts"

/** The whole body of a request, which may not be larger than `sizeMax` bytes. */
export async function readBody(request: IncomingMessage, sizeMax: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of request) {
    size += (part as Uint8Array).length
    if (size > sizeMax) {
      throw new LitefsError("usage", `Cannot read request: its body is over ${sizeMax} bytes`)
    }
    parts.push(part as Uint8Array)
  }
  return Buffer.concat(parts)
}
