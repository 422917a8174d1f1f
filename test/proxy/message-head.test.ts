import { describe, expect, test } from "bun:test"
import { BadMessage, parseRequestHead, parseResponseHead } from "../../src/proxy/message-head.ts"

function problemOf(parse: () => unknown): [status: number, message: string] {
  try {
    parse()
  } catch (error) {
    if (error instanceof BadMessage) return [error.status, error.message]
    throw error
  }
  throw new Error("it was accepted")
}

const request = (...lines: string[]) => parseRequestHead(lines.join("\r\n"))

describe("parseRequestHead() reads", () => {
  test("a request as browsers send it", () => {
    const head = request(
      "GET /a?b=1 HTTP/1.1",
      "Host: a.example:8080",
      "X-Two:  a b\t ",
      "x-empty:",
    )
    expect(head).toEqual({
      method: "GET",
      target: "/a?b=1",
      host: "a.example:8080",
      isHttp10: false,
      fields: [
        { name: "Host", key: "host", value: "a.example:8080" },
        { name: "X-Two", key: "x-two", value: "a b" },
        { name: "x-empty", key: "x-empty", value: "" },
      ],
    })
  })

  test.each([
    ["PROPFIND / HTTP/1.1", "PROPFIND", "/"],
    ["M-SEARCH /x HTTP/1.1", "M-SEARCH", "/x"],
    ["OPTIONS * HTTP/1.1", "OPTIONS", "*"],
    ["GET /caf\xc3\xa9 HTTP/1.1", "GET", "/caf\xc3\xa9"],
    ['GET /|{}"<> HTTP/1.1', "GET", '/|{}"<>'],
    ["GET // HTTP/1.1", "GET", "//"],
  ])("%p", (line, method, target) => {
    expect(request(line, "Host: a")).toMatchObject({ method, target })
  })

  test("a whole URL: its host counts, and the path is passed on", () => {
    const head = (target: string) => request(`GET ${target} HTTP/1.1`, "Host: other")
    expect(head("http://a.example:80/x?y")).toMatchObject({ host: "a.example:80", target: "/x?y" })
    expect(head("https://a.example")).toMatchObject({ host: "a.example", target: "/" })
    expect(head("http://a.example?y")).toMatchObject({ host: "a.example", target: "/?y" })
  })

  test("HTTP/1.0, which needs no Host", () => {
    expect(request("GET / HTTP/1.0")).toMatchObject({ isHttp10: true, host: "" })
    expect(request("GET / HTTP/1.7", "Host: a").isHttp10).toBe(false)
  })
})

describe("parseRequestHead() refuses", () => {
  test.each([
    ["", 400],
    ["GET", 400],
    ["GET /", 400],
    ["GET  / HTTP/1.1", 400],
    ["GET /  HTTP/1.1", 400],
    [" GET / HTTP/1.1", 400],
    ["GET\t/\tHTTP/1.1", 400],
    ["GET / HTTP/1.1 ", 400],
    ["GET / http/1.1", 400],
    ["GET / HTTP/1.1\0", 400],
    ["GE\0T / HTTP/1.1", 400],
    ["GET /\0 HTTP/1.1", 400],
    ["GET /a b HTTP/1.1", 400],
    ["GET /a\x7f HTTP/1.1", 400],
    ["GET /a#b HTTP/1.1", 400],
    ["GET a HTTP/1.1", 400],
    ["GET * HTTP/1.1", 400],
    ["GET a.example:80 HTTP/1.1", 400],
    ["GET ftp://a/ HTTP/1.1", 400],
    ["GET http:///x HTTP/1.1", 400],
    ["GET http://u@a/ HTTP/1.1", 400],
    ["GET http://a:99999999/ HTTP/1.1", 400],
    ["G(T / HTTP/1.1", 400],
    [`${"A".repeat(65)} / HTTP/1.1`, 400],
    ["GET / HTTP/11", 400],
    ["GET / HTTP/1.10", 400],
    ["GET / HTTP/2.0", 505],
    ["GET / HTTP/0.9", 505],
    ["CONNECT a.example:443 HTTP/1.1", 405],
    ["CONNECT / HTTP/1.1", 405],
  ])("the request line %p", (line, status) => {
    expect(problemOf(() => request(line, "Host: a"))[0]).toBe(status)
  })

  test.each([
    ["X: a\nEvil: b"],
    ["X: a\rEvil: b"],
    ["X: a\0b"],
    ["X: a\x01"],
    ["X: a\x7f"],
    ["X : a"],
    ["X\t: a"],
    [" X: a"],
    ["\tX: a"],
    ["X"],
    [": a"],
    [""],
    ["X\xe9: a"],
    ["X(: a"],
    ["X\0: a"],
    ["\nX: a"],
    ["Transfer-Encoding\x0b: chunked"],
    ["Transfer-Encoding :chunked"],
  ])("the field %p", (line) => {
    expect(problemOf(() => request("GET / HTTP/1.1", "Host: a", line))[0]).toBe(400)
  })

  test("a folded field", () => {
    expect(problemOf(() => request("GET / HTTP/1.1", "Host: a", "X: a", " b"))).toEqual([
      400,
      "a header field is folded",
    ])
  })

  test.each([
    [[]],
    [["Host: a", "Host: b"]],
    [["Host: a", "host: a"]],
    [["Host: a b"]],
    [["Host: a/b"]],
    [["Host: u@a"]],
    [["Host: a:x"]],
    [["Host: a, b"]],
  ])("the hosts %p", (lines) => {
    expect(problemOf(() => request("GET / HTTP/1.1", ...lines))[0]).toBe(400)
  })

  test("more fields than anybody needs", () => {
    const fields = Array.from({ length: 300 }, (_, index) => `X-${index}: 1`)
    expect(problemOf(() => request("GET / HTTP/1.1", "Host: a", ...fields))[0]).toBe(431)
  })
})

describe("parseResponseHead()", () => {
  test("reads a status line with and without a reason", () => {
    const status = (line: string) => parseResponseHead(line).status
    expect(status("HTTP/1.1 200 OK")).toBe(200)
    expect(status("HTTP/1.0 404 Not Found at all")).toBe(404)
    expect(status("HTTP/1.1 299 ")).toBe(299)
    expect(status("HTTP/1.1 299")).toBe(299)
  })

  test.each([
    ["HTTP/2 200 OK"],
    ["HTTP/1.1 20 OK"],
    ["HTTP/1.1 2000"],
    ["200 OK"],
    ["HTTP/1.1 200 a\nb"],
  ])("refuses %p", (line) => expect(problemOf(() => parseResponseHead(line))[0]).toBe(502))
})
