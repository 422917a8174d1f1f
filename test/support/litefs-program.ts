/**
 * The command line as a program of its own, with a node that does nothing: for real signals.
 *
 * STAGE says how far the node comes: "opening" (until stdin ends), "waiting" (for ever), or all the way.
 * It prints the stage when it is there.
 */
import { writeSync } from "node:fs"
import { processEvents } from "../../src/cli/command/process-events.ts"
import { run } from "../../src/cli/main-command.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { FakeNode } from "./fake-node.ts"

/** A test that has failed reads no more. */
function print(fd: number, text: string): void {
  try {
    writeSync(fd, text)
  } catch {
    // Nobody is there to hear of it.
  }
}

const { STAGE, NODE_ERROR, IS_REPLICA } = process.env

const code = await run(process.argv.slice(2), {
  env: process.env,
  stdout: (text) => print(1, text),
  stderr: (text) => print(2, text),
  screen: () => undefined,
  isInit: process.pid === 1,
  stdin: () => process.stdin,
  writeStdout: async (bytes) => void writeSync(1, bytes),
  clock: systemClock,
  events: processEvents,
  recoverStaleMount: async () => {},
  expectNode: () => {},
  openNode: async () => {
    const node = new FakeNode()
    node.isCandidate = IS_REPLICA === undefined
    node.closeNode = async () => print(1, "closed\n")
    if (STAGE === "opening") {
      print(1, "opening\n")
      for await (const _ of process.stdin);
    }
    if (NODE_ERROR !== undefined) throw new Error(NODE_ERROR)
    if (STAGE === "waiting") print(1, "waiting\n")
    else node.becomeReady.resolve()
    return node
  },
})
process.exit(code)
