import { expect, test } from "bun:test"
import { restoreHiddenVariables } from "../../src/cli/settings/hidden-variables.ts"

test("restoreHiddenVariables() gives back the names that the loader has hidden, and no others", () => {
  const env = { "%UN_BE_BUN": "1", "%D_PRELOAD": "/x.so", "%D": "2", "%OTHER": "3", PATH: "/bin" }
  restoreHiddenVariables(env)
  expect(env as Record<string, string>).toEqual({
    BUN_BE_BUN: "1",
    LD_PRELOAD: "/x.so",
    "%D": "2",
    "%OTHER": "3",
    PATH: "/bin",
  })
})
