import type { IncomingMessage } from "node:http"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"

export interface BodyLimits {
  /** Bytes. */
  readonly sizeMax: number
  /** Time for the whole body to arrive. */
  readonly timeMs: number
}

export async function readBody(
  request: IncomingMessage,
  { sizeMax, timeMs }: BodyLimits,
  clock: Clock,
): Promise<Uint8Array> {
  const cancel = clock.after(timeMs, () => {
    request.destroy(tooSlow(timeMs))
  })
  const parts: Uint8Array[] = []
  let size = 0
  try {
    for await (const part of request) {
      size += (part as Uint8Array).length
      if (size > sizeMax) throw tooLarge(sizeMax)
      parts.push(part as Uint8Array)
    }
  } finally {
    cancel()
  }
  return Buffer.concat(parts)
}

export function tooLarge(sizeMax: number): LitefsError {
  return new LitefsError("usage", `Cannot read request: its body is over ${sizeMax} bytes`)
}

export function tooSlow(timeMs: number): LitefsError {
  return new LitefsError("usage", `Cannot read request: its body took over ${timeMs} ms`)
}
