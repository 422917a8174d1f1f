import type { ServerResponse } from "node:http"

/** JSON as the original writes it: it escapes what could end a script or a line in a page. */
export function encodeJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  )
}

export function answerJson(response: ServerResponse, status: number, value: unknown): void {
  answerJsonBody(response, status, Buffer.from(`${encodeJson(value, 2)}\n`))
}

export function answerJsonBody(response: ServerResponse, status: number, body: Uint8Array): void {
  response.writeHead(status, {
    "Content-Type": "application/json",
    "Content-Length": body.length,
    "Cache-Control": "no-store",
  })
  response.end(body)
}
