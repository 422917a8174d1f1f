import { describe, expect, test } from "bun:test"
import { connectProblem, firstContactProblem } from "../../src/cluster/connect-problem.ts"

const RESET = Object.assign(new Error("socket hang up"), { code: "ECONNRESET" })

describe("connectProblem()", () => {
  test.each([
    ["a response that breaks off", new Error("aborted")],
    ["a reset", RESET],
  ])("says of %s that the connection was lost", (_, error) => {
    expect(connectProblem("https://a:1", error).message).toBe("the connection was lost")
  })
})

test.each([
  [
    "http://10.0.0.2:20202",
    "connect",
    "nothing listens at 10.0.0.2:20202, or there is no way to it",
  ],
  ["http://10.0.0.2:20202", undefined, "nothing listens at 10.0.0.2:20202"],
  ["http://127.0.0.1:20202", "connect", "nothing listens at 127.0.0.1:20202"],
  ["http://[::1]:20202", "connect", "nothing listens at [::1]:20202"],
  ["http://localhost:20202", "connect", "nothing listens at localhost:20202"],
])("of %s, after %s, connectProblem() says %j", (url, syscall, text) => {
  const error = Object.assign(new Error("connect"), { code: "ECONNREFUSED", syscall })
  expect(connectProblem(url, error).message).toBe(`${text} (ECONNREFUSED)`)
})

test.each([
  ["CERT_HAS_EXPIRED", "its certificate, or that of its authority, has expired"],
  ["CERT_NOT_YET_VALID", "its certificate is not valid yet, the clock"],
  ["INVALID_PURPOSE", "its certificate is not for servers"],
])("of %s connectProblem() says what setting or clock it is", (code, text) => {
  const problem = connectProblem(
    "https://a:1",
    Object.assign(new Error("of the runtime"), { code }),
  )
  expect(problem.message).toStartWith(text)
  expect(problem.code).toBe("usage")
})

test("firstContactProblem() names the certificate when a handshake breaks off", async () => {
  expect((await firstContactProblem("https://a:1", RESET)).message).toMatch(
    /in the TLS handshake, perhaps because of the certificate here: .*--http-tls-ca there .*--http-tls-cert, for clients, and it should be valid now$/,
  )
})
