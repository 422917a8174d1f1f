/** Preloaded into the program: SIGUSR2 stops its main thread for as long as the file STOPPED exists. */
import { existsSync, writeFileSync } from "node:fs"
import { isMainThread } from "node:worker_threads"

if (isMainThread) {
  process.on("SIGUSR2", () => {
    const path = process.env.STOPPED ?? ""
    writeFileSync(path, "yes")
    while (existsSync(path)) Bun.sleepSync(10)
  })
}
