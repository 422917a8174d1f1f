/** Arguments in, exit code out. Nothing else ends the process. */
import { writeSync } from "node:fs"
import { run } from "./cli/main-command.ts"
import { processEvents } from "./cli/process-events.ts"
import { systemClock } from "./lib/clock.ts"

const code = await run(process.argv.slice(2), {
  env: process.env,
  stdout: (text) => print(1, text),
  stderr: (text) => print(2, text),
  clock: systemClock,
  events: processEvents,
  // Loaded when needed, so that `litefs --help` is quick.
  openNode: async (options) => (await import("./litefs.ts")).LiteFS.open(options),
  recoverStaleMount: async (options) => (await import("./litefs.ts")).LiteFS.recoverMount(options),
})
process.exit(code)

/** Synchronous, so that nothing is lost at the exit; a reader that has gone away is no error. */
function print(fd: number, text: string): void {
  try {
    writeSync(fd, text)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error
  }
}
