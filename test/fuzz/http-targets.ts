/** HTTP as anybody may send it: to the proxy, and to the API. */
import { checkQuery, databaseNameOf, numberOf } from "../../src/http/server/query.ts"
import { type Body, bodyOfRequest, bodyOfResponse, ChunkedBody } from "../../src/proxy/body.ts"
import { originOf } from "../../src/proxy/forwarded.ts"
import { parseRequestHead, parseResponseHead } from "../../src/proxy/message-head.ts"
import { requestBytes, responseBytes, upgradeOf } from "../../src/proxy/passed-on.ts"
import {
  formatToken,
  parseToken,
  setCookie,
  tokenInCookies,
} from "../../src/proxy/position-token.ts"
import { goldenSeeds } from "./golden-seeds.ts"
import { latin1Of, refusesAsMessage, refusesWith, type Target, textSeeds } from "./target.ts"

const WORDS = [
  ...[
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    "\r\n ",
    "Transfer-Encoding: chunked\r\n",
    "HTTP/1.0",
  ],
  ...[
    "Content-Length: 0\r\n",
    "Content-Length: 5\r\n",
    "content_length: 5\r\n",
    "Connection: close, host\r\n",
  ],
  ...[
    "Host: b\r\n",
    "Upgrade: h2c\r\n",
    "X-Forwarded-For: 1.2.3.4\r\n",
    "http://a/",
    "chunked, ",
    "TE: trailers\r\n",
  ],
]

/** What is passed on says the same to the next server: the request, and where its body ends. */
const requests: Target = {
  name: "http-request",
  seeds: () => [
    ...textSeeds(
      "GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nCookie: __txid=0000000000000012; a=b\r\nX-Real-IP: 1.2.3.4",
      "POST /notes HTTP/1.1\r\nHost: a:8080\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, x\r\nX: y",
      "PUT http://a/x HTTP/1.0\r\nContent-Length: 12\r\nForwarded: for=10.0.0.1;host=a",
      "GET /live HTTP/1.1\r\nHost: [::1]:80\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nTE: trailers",
      "OPTIONS * HTTP/1.1\r\nHost: a",
    ),
    ...goldenSeeds(/^http1\/.*\.req$/),
  ],
  words: WORDS,
  run(input) {
    const head = parseRequestHead(latin1Of(input))
    const body = bodyOfRequest(head)
    const upgrade = upgradeOf(head.fields)
    const origin = originOf(head, "10.1.2.3")
    const bytes = requestBytes(head, { origin, forwardedBy: "b", doesBodyWait: false, upgrade })
    const text = bytes.toString("latin1")
    if (!text.endsWith("\r\n\r\n")) throw new Error("its end is missing")
    const passed = must(() => parseRequestHead(text.slice(0, -4)))
    const isSame =
      passed.method === head.method && passed.target === head.target && passed.host === head.host
    if (!isSame) throw new Error(`it is passed on as ${JSON.stringify(text)}`)
    sameBody(
      body,
      must(() => bodyOfRequest(passed)),
    )
  },
  refuses: refusesAsMessage,
}

const responses: Target = {
  name: "http-response",
  seeds: () => [
    ...textSeeds(
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nSet-Cookie: a=b",
      "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\nTrailer: x",
      "HTTP/1.0 304 Not Modified\r\nConnection: close\r\nETag: x",
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket",
    ),
    ...goldenSeeds(/^http1\/.*\.resp$/),
  ],
  words: WORDS,
  run(input) {
    const head = parseResponseHead(latin1Of(input))
    const body = bodyOfResponse(head, "GET")
    const isChunked = body instanceof ChunkedBody
    const text = responseBytes(head, { fields: [], isChunked, isLast: false }).toString("latin1")
    const passed = must(() => parseResponseHead(text.slice(0, -4)))
    if (passed.status !== head.status) throw new Error(`its status is ${passed.status} then`)
    sameBody(
      body,
      must(() => bodyOfResponse(passed, "GET")),
    )
  },
  refuses: refusesAsMessage,
}

/** What we pass on ourselves we have to be able to read. */
function must<T>(act: () => T): T {
  try {
    return act()
  } catch (error) {
    throw new Error(`what is passed on cannot be read: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

function sameBody(came: Body, passed: Body): void {
  if (came.constructor !== passed.constructor) throw new Error("its body ends elsewhere")
  const some = new Uint8Array(1000)
  if (came instanceof ChunkedBody) return
  if (came.take(some, 0) !== passed.take(some, 0)) throw new Error("its body has another size")
}

/** The same wherever it is cut. */
const chunked: Target = {
  name: "http-chunks",
  seeds: () =>
    textSeeds(
      "5\r\nhello\r\n0\r\n\r\n",
      "1;a=b\r\nx\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\nB: y\r\n\r\nGET / HTTP/1.1\r\n",
      "0\r\n\r\n",
    ),
  words: [...WORDS, "ffffffffffffff", "0\r\n", "-1", "0x5", ";"],
  run(input, random) {
    const outcomeOf = (pieces: readonly Uint8Array[]) => {
      const body = new ChunkedBody()
      let used = 0
      try {
        for (const piece of pieces) {
          const end = body.take(piece, 0)
          used += end
          if (end < piece.length) break
        }
        return { text: `${used} ${body.isWhole}` }
      } catch (error) {
        return { text: "refused", error }
      }
    }
    const whole = outcomeOf([input])
    const pieces = outcomeOf(random.split(input))
    if (whole.text !== pieces.text) throw new Error(`whole ${whole.text}, in pieces ${pieces.text}`)
    if (whole.error !== undefined) throw whole.error
  },
  refuses: refusesAsMessage,
}

const TOKEN_SIZE_MAX = 4096

/** Cookies of a client: what is read of its token can be written, and read again. */
const tokens: Target = {
  name: "position-token",
  seeds: () =>
    textSeeds(
      "a=b; __txid=0000000000000012-3-9c1e5a2b7f3d4c61-app.db&0000000000000001-1-8000000000000000-b%20c; x=y",
      '__txid="0000000000000012"',
      "__txid=0000000000000012",
    ),
  words: ["__txid=", "&", "-", ";", '"', "%2f", "%", "ffffffffffffffff", "0000000000000000"],
  run(input) {
    const text = latin1Of(input)
    for (const token of [tokenInCookies([text, text]) ?? "", text]) {
      const entries = parseToken(token, "app.db", 8)
      const whole = entries.filter(({ epoch }) => epoch !== undefined)
      for (const { database, txid, checksum, epoch } of whole) {
        const again = formatToken([[database, { txid, checksum: checksum ?? 0n }]], epoch ?? 0n)
        if (again.length > TOKEN_SIZE_MAX) continue // no database has such a name
        const [entry] = parseToken(again, undefined, 8)
        if (entry?.database !== database || entry.txid !== txid) throw new Error(again)
        if (/[^\x21-\x7e]|[;,"\\]/.test(again)) throw new Error(`${again} is no value of a cookie`)
        setCookie(again, true)
      }
    }
  },
}

/** The target of a request to the API. */
const queries: Target = {
  name: "api-query",
  seeds: () =>
    textSeeds(
      "/export?name=app.db",
      "/halt?name=a%20b&id=77&ttl=300000",
      "/stream?filter=a.db,b.db&x=1&x=2",
    ),
  words: ["name=", "&", "?", "%00", "%2f", "..", "ttl=", "-1", "1e9", "#", "//", "http://"],
  run(input) {
    const target = latin1Of(input)
    if (!URL.canParse(target, "http://node")) return
    const url = new URL(target, "http://node")
    const name = databaseNameOf(url)
    if (/[/\0]/.test(name)) throw new Error("it leads elsewhere")
    checkQuery(url, ["name", "ttl", "id"])
    const ttl = numberOf(url, "ttl")
    if (ttl !== undefined && !Number.isSafeInteger(ttl)) throw new Error(`${ttl} is no number`)
  },
  refuses: refusesWith("usage", "name-invalid"),
}

export const HTTP_TARGETS: readonly Target[] = [requests, responses, chunked, tokens, queries]
