/**
 * The document of the status page: one text, with its style and its script in it. It holds nothing of this node, and
 * anybody may have it; what it shows comes from `GET /watch`, which asks for the token.
 *
 * Its policy lets it load nothing, run and style itself with nothing but what is in it, and ask only the node that it
 * comes from. No text becomes markup (Trusted Types), and no other page has it in a frame.
 */
import { createHash } from "node:crypto"
import type { ServerResponse } from "node:http"
import style from "./page.css" with { type: "text" }
import markup from "./page.html" with { type: "text" }
import script from "./page.js" with { type: "text" }

const STYLE_LINK = '<link rel="stylesheet" href="page.css">'
const SCRIPT_LINK = '<script src="page.js"></script>'

const POLICY = [
  "default-src 'none'",
  `script-src '${sourceOf(script)}'`,
  `style-src '${sourceOf(style)}'`,
  "img-src data:", // its own icon
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ")

export const PAGE_DOCUMENT = (markup as unknown as string)
  .replace(STYLE_LINK, () => `<style>${style}</style>`)
  .replace(SCRIPT_LINK, () => `<script>${script}</script>`)

const HEADERS = {
  "Content-Type": "text/html; charset=utf-8",
  "Content-Length": String(Buffer.byteLength(PAGE_DOCUMENT)),
  "Content-Security-Policy": POLICY,
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-store",
  Vary: "Accept",
}

export function answerDocument(response: ServerResponse): void {
  response.writeHead(200, HEADERS)
  response.end(PAGE_DOCUMENT)
}

/** As a policy names a text. */
function sourceOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`
}
