/** Arguments in, exit code out. Nothing else ends the process. */
import { write, writeSync } from "node:fs"
import { isatty } from "node:tty"
import { promisify } from "node:util"
import { restoreHiddenVariables } from "./cli/hidden-variables.ts"
import { run } from "./cli/main-command.ts"
import { processEvents } from "./cli/process-events.ts"
import { systemClock } from "./lib/clock.ts"

restoreHiddenVariables(process.env)
const code = await run(process.argv.slice(2), {
  env: process.env,
  stdout: (text) => print(1, text),
  stderr: (text) => print(2, text),
  isTerminal: isatty(2),
  isInit: process.pid === 1,
  stdin: () => process.stdin,
  writeStdout: (bytes) => writeAll(1, bytes),
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

async function writeAll(fd: number, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await promisify(write)(fd, bytes, done)).bytesWritten
  }
}
