/** The command line as a program of its own, with a node that does nothing: for real signals. */
import { writeSync } from "node:fs"
import { run } from "../../src/cli/main-command.ts"
import { processEvents } from "../../src/cli/process-events.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { FakeNode } from "./fake-node.ts"

const code = await run(process.argv.slice(2), {
  env: process.env,
  stdout: (text) => writeSync(1, text),
  stderr: (text) => writeSync(2, text),
  isTerminal: false,
  stdin: () => process.stdin,
  writeStdout: async (bytes) => void writeSync(1, bytes),
  clock: systemClock,
  events: processEvents,
  recoverStaleMount: async () => {},
  openNode: async () => {
    const node = new FakeNode()
    node.closeNode = async () => void writeSync(1, "closed\n")
    if (process.env.NEVER_READY === undefined) node.becomeReady.resolve()
    else writeSync(1, "waiting\n")
    return node
  },
})
process.exit(code)
