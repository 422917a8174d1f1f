import { describe, expect, test } from "bun:test"
import { authHeaders, authorize, tokenProblem } from "../../src/http/server/auth.ts"

const TOKEN = "s3cret-s3cret"

function problemOf(authorization: string | undefined): string | undefined {
  try {
    authorize(authorization === undefined ? {} : { authorization }, TOKEN)
    return undefined
  } catch (error) {
    expect(error).toMatchObject({ code: "unauthorized" })
    return (error as Error).message
  }
}

describe("tokenProblem()", () => {
  test.each(["x", "0123abcd", "a.b_c~d+e/f-g", "YWJj==", "x".repeat(512)])(
    "accepts %p",
    (token) => {
      expect(tokenProblem(token)).toBeUndefined()
    },
  )

  test.each<[string, RegExp]>([
    ["", /^it is empty$/],
    ["x".repeat(513), /^it is longer than 512 characters$/],
    ["two words", /^it should be made of letters/],
    ["line\nline", /^it should be made of letters/],
    ["grün", /^it should be made of letters/],
    ["==", /^it should be made of letters/],
  ])("refuses %p, and does not repeat it", (token, problem) => {
    expect(tokenProblem(token)).toMatch(problem)
    if (token !== "") expect(tokenProblem(token)).not.toContain(token)
  })
})

describe("authorize()", () => {
  test("authorize() takes what authHeaders() makes", () => {
    expect(problemOf(authHeaders(TOKEN).Authorization)).toBeUndefined()
    expect(authHeaders(undefined)).toEqual({})
  })

  test.each([`bearer ${TOKEN}`, `BEARER  ${TOKEN} `])("authorize() takes %p", (authorization) => {
    expect(problemOf(authorization)).toBeUndefined()
  })

  test.each([undefined, "", TOKEN, "Bearer", "Bearer ", `Basic ${TOKEN}`, `Bearer ${TOKEN} more`])(
    "authorize() asks for a token when it is shown %p",
    (authorization) => {
      expect(problemOf(authorization)).toBe(
        "unauthorized: this node asks for a token, send the header Authorization: Bearer TOKEN; commands take --auth-token-file or LITEFS_AUTH_TOKEN",
      )
    },
  )

  test.each(["x", `${TOKEN}x`, TOKEN.slice(0, -1), TOKEN.toUpperCase()])(
    "authorize() refuses %p, and names neither token",
    (token) => {
      expect(problemOf(`Bearer ${token}`)).toBe("unauthorized: this node has another token")
    },
  )
})
