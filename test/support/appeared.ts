import { existsSync, readFileSync } from "node:fs"
import { until } from "./until.ts"

/** Resolves when a program that runs beside the test has written something to its file. */
export async function appeared(path: string, pattern: RegExp): Promise<string> {
  let text = ""
  const look = () => {
    text = existsSync(path) ? readFileSync(path, "utf8") : ""
    return pattern.test(text) && text
  }
  const context = () => `${path}: ${text}`
  return until(`a program has written ${pattern}`, look, { limitMs: 30_000, everyMs: 2, context })
}
