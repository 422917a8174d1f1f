import { existsSync, readFileSync } from "node:fs"

/** Resolves when a program that runs beside the test has written something to its file. */
export async function appeared(path: string, pattern: RegExp): Promise<string> {
  for (;;) {
    const text = existsSync(path) ? readFileSync(path, "utf8") : ""
    if (pattern.test(text)) return text
    await Bun.sleep(2)
  }
}
