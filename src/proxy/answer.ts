/** Responses that the proxy makes itself: a status and a line of text. */
import { responseBytes } from "./passed-on.ts"

export interface Answer {
  readonly to: "answer"
  readonly status: number
  readonly text: string
  readonly fields?: readonly (readonly [name: string, value: string])[]
}

export function answerBytes(answer: Answer, method: string, isLast: boolean): Uint8Array {
  const { status, text, fields = [] } = answer
  const body = Buffer.from(text)
  const head = {
    status,
    statusLine: `HTTP/1.1 ${status} ${REASONS[status] ?? "Error"}`,
    isHttp10: false,
    fields: [],
  }
  const bytes = responseBytes(head, {
    fields: [
      ["Content-Type", "text/plain; charset=utf-8"],
      ["Content-Length", String(body.length)],
      ...fields,
    ],
    isChunked: false,
    isLast,
  })
  return method === "HEAD" ? bytes : Buffer.concat([bytes, body])
}

const REASONS: Record<number, string> = {
  200: "OK",
  400: "Bad Request",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  414: "URI Too Long",
  431: "Request Header Fields Too Large",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
}
