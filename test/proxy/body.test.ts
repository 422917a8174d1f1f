import { describe, expect, test } from "bun:test"
import { bodyOfRequest, bodyOfResponse } from "../../src/proxy/body.ts"
import { BadMessage, parseRequestHead, parseResponseHead } from "../../src/proxy/message-head.ts"

function requestBody(...fields: string[]) {
  return bodyOfRequest(parseRequestHead(["POST / HTTP/1.1", "Host: a", ...fields].join("\r\n")))
}

function statusOf(act: () => unknown): number {
  try {
    act()
  } catch (error) {
    if (error instanceof BadMessage) return error.status
    throw error
  }
  throw new Error("it was accepted")
}

/** How many bytes belong to the body, which may be cut anywhere; and whether it is whole then. */
function taken(text: string, parts: number[], ...fields: string[]): [number, boolean] {
  const body = requestBody(...fields)
  const bytes = Buffer.from(text, "latin1")
  let total = 0
  for (const [index, start] of [0, ...parts].entries()) {
    const part = bytes.subarray(start, parts[index] ?? bytes.length)
    const count = body.take(part, 0)
    total += count
    if (count < part.length) break
  }
  return [total, body.isWhole]
}

describe("bodyOfRequest() refuses what two servers could read in two ways", () => {
  test.each<[string[], number]>([
    [["Content-Length: 5", "Content-Length: 6"], 400],
    [["Content-Length: 5", "Content-Length: 5"], 400],
    [["Content-Length: 5, 5"], 400],
    [["Content-Length: +5"], 400],
    [["Content-Length: -5"], 400],
    [["Content-Length: 0x5"], 400],
    [["Content-Length: 5 5"], 400],
    [["Content-Length: 5e1"], 400],
    [["Content-Length:"], 400],
    [["Content-Length: 99999999999999999999"], 400],
    [["Content-Length: 9007199254740993"], 400],
    [["Content-Length: 5", "Transfer-Encoding: chunked"], 400],
    [["Transfer-Encoding: chunked", "Content-Length: 0"], 400],
    [["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], 400],
    [["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], 400],
    [["Transfer-Encoding: gzip, chunked"], 501],
    [["Transfer-Encoding: chunked, identity"], 501],
    [["Transfer-Encoding: xchunked"], 501],
    [['Transfer-Encoding: "chunked"'], 501],
    [["Transfer-Encoding: identity"], 501],
    [["Transfer-Encoding:"], 501],
  ])("%p", (fields, status) => {
    expect(statusOf(() => requestBody(...fields))).toBe(status)
  })

  test("chunks in HTTP/1.0", () => {
    const head = parseRequestHead("POST / HTTP/1.0\r\nTransfer-Encoding: chunked")
    expect(statusOf(() => bodyOfRequest(head))).toBe(400)
  })
})

describe("a body of a known size", () => {
  test("ends after its bytes", () => {
    expect(taken("hello, next", [], "Content-Length: 5")).toEqual([5, true])
    expect(taken("hell", [2], "Content-Length: 5")).toEqual([4, false])
    expect(taken("next", [], "Content-Length: 0")).toEqual([0, true])
    expect(taken("next", [])).toEqual([0, true])
  })
})

describe("a body in chunks", () => {
  const CHUNKED = "Transfer-Encoding: Chunked"

  test.each([
    ["0\r\n\r\n"],
    ["5\r\nhello\r\n0\r\n\r\n"],
    ["005\r\nhello\r\n00\r\n\r\n"],
    ["a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"],
    ['5;name=value;other="x y"\r\nhello\r\n0;last\r\n\r\n'],
    ["5\r\n0\r\n\r\n\r\n0\r\n\r\n"],
    ["0\r\nDigest: abc\r\nX-Two: a b\r\n\r\n"],
  ])("ends where %p ends, wherever it is cut", (text) => {
    for (let cut = 0; cut <= text.length; cut++) {
      expect(taken(`${text}GET / HTTP/1.1`, [cut], CHUNKED)).toEqual([text.length, true])
    }
  })

  test.each([
    ["\r\n"],
    ["g\r\n"],
    ["0x5\r\nhello\r\n"],
    ["-5\r\n"],
    ["+5\r\n"],
    ["5 \r\nhello\r\n"],
    [" 5\r\nhello\r\n"],
    ["5\nhello\r\n"],
    ["5\rhello\r\n"],
    ["5\r\r\nhello"],
    ["5\r\nhello0\r\n\r\n"],
    ["5\r\nhello\n0\r\n\r\n"],
    ["5\r\nhello\r0\r\n\r\n"],
    ["5;a\nb\r\nhello\r\n0\r\n\r\n"],
    ["5;a\0\r\nhello"],
    [`5;${"a".repeat(600)}\r\nhello`],
    ["fffffffffffffff\r\n"],
    ["00000000000005\r\nhello"],
    ["0\r\nX: a\nY: b\r\n\r\n"],
    ["0\r\n X: a\r\n\r\n"],
    ["0\r\nX : a\r\n\r\n"],
    ["0\r\nX\r\n\r\n"],
    ["0\r\n\n"],
    ["0\r\n\rX"],
    ["0\r\nX: a\0\r\n\r\n"],
    ["0\r\nContent-Length: 5\r\n\r\n"],
    ["0\r\ntransfer-encoding: chunked\r\n\r\n"],
    [`0\r\nX: ${"a".repeat(20_000)}\r\n\r\n`],
  ])("refuses %p", (text) => {
    expect(statusOf(() => taken(text, [], CHUNKED))).toBe(400)
  })
})

describe("bodyOfResponse()", () => {
  const response = (method: string, ...lines: string[]) =>
    bodyOfResponse(parseResponseHead(lines.join("\r\n")), method)

  test.each([
    ["HEAD", "HTTP/1.1 200 OK"],
    ["GET", "HTTP/1.1 204 No Content"],
    ["GET", "HTTP/1.1 304 Not Modified"],
    ["GET", "HTTP/1.1 103 Early Hints"],
  ])("there is none for %p and %p, whatever it says of its size", (method, line) => {
    expect(response(method, line, "Content-Length: 5").isWhole).toBe(true)
    expect(response(method, line, "Transfer-Encoding: chunked").isWhole).toBe(true)
  })

  test("without a size it ends with the connection", () => {
    const body = response("GET", "HTTP/1.1 200 OK")
    expect(body.take(Buffer.from("hello"), 0)).toBe(5)
    expect(body.isWhole).toBe(false)
  })

  test.each([
    [["HTTP/1.1 200 OK", "Content-Length: 5", "Transfer-Encoding: chunked"]],
    [["HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 6"]],
    [["HTTP/1.1 200 OK", "Transfer-Encoding: gzip"]],
    [["HTTP/1.0 200 OK", "Transfer-Encoding: chunked"]],
  ])("refuses %p", (lines) => {
    expect(statusOf(() => response("GET", ...lines))).toBeGreaterThanOrEqual(400)
  })
})
