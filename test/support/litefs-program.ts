/**
 * The command line as a program of its own, with a node that does nothing: for real signals.
 *
 * STAGE says how far the node comes: "opening" (until stdin ends), "waiting" (for ever), or all the way.
 * It prints the stage when it is there.
 */
import { writeSync } from "node:fs"
import { run } from "../../src/cli/main-command.ts"
import { processEvents } from "../../src/cli/process-events.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { FakeNode } from "./fake-node.ts"

const { STAGE, NODE_ERROR, IS_REPLICA } = process.env

const code = await run(process.argv.slice(2), {
  env: process.env,
  stdout: (text) => writeSync(1, text),
  stderr: (text) => writeSync(2, text),
  isTerminal: false,
  isInit: process.pid === 1,
  stdin: () => process.stdin,
  writeStdout: async (bytes) => void writeSync(1, bytes),
  clock: systemClock,
  events: processEvents,
  recoverStaleMount: async () => {},
  openNode: async () => {
    const node = new FakeNode()
    node.isCandidate = IS_REPLICA === undefined
    node.closeNode = async () => void writeSync(1, "closed\n")
    if (STAGE === "opening") {
      writeSync(1, "opening\n")
      for await (const _ of process.stdin);
    }
    if (NODE_ERROR !== undefined) throw new Error(NODE_ERROR)
    if (STAGE === "waiting") writeSync(1, "waiting\n")
    else node.becomeReady.resolve()
    return node
  },
})
process.exit(code)
