/** Arguments in, exit code out. Nothing else ends the process. */
import { write, writeSync } from "node:fs"
import { promisify } from "node:util"
import { processEvents } from "./cli/command/process-events.ts"
import { run } from "./cli/main-command.ts"
import { restoreHiddenVariables } from "./cli/settings/hidden-variables.ts"
import { screenOf } from "./cli/terminal/screen.ts"
import { systemClock } from "./lib/clock.ts"
import { NodeWorkers } from "./workers.ts"

let workers: NodeWorkers | undefined

restoreHiddenVariables(process.env)
const code = await run(process.argv.slice(2), {
  env: process.env,
  stdout: (text) => print(1, text),
  stderr: (text) => print(2, text),
  // Rarely needed, and slow to load.
  screen: (fd) =>
    isTerminal(fd) ? screenOf(fd === 1 ? process.stdout : process.stderr, process.env) : undefined,
  keyboard: () =>
    isTerminal(0) && isTerminal(1) ? { input: process.stdin, output: process.stdout } : undefined,
  isInit: process.pid === 1,
  stdin: () => process.stdin,
  writeStdout: (bytes) => writeAll(1, bytes),
  clock: systemClock,
  events: processEvents,
  // Loaded on demand, so that other commands are quick; all threads then load at the same time.
  expectNode: () => {
    workers = new NodeWorkers()
  },
  recoverStaleMount: async (options) => (await import("./litefs.ts")).LiteFS.recoverMount(options),
  openNode: async (options) => (await import("./litefs.ts")).LiteFS.open(options, workers),
})
process.exit(code)

function isTerminal(fd: number): boolean {
  return process.getBuiltinModule("node:tty").isatty(fd)
}

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
