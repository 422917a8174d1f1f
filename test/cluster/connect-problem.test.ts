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

test("firstContactProblem() names the certificate when a handshake breaks off", async () => {
  expect((await firstContactProblem("https://a:1", RESET)).message).toMatch(
    /in the TLS handshake, perhaps because of the certificate here: .*--http-tls-ca there .*--http-tls-cert$/,
  )
})
