/** `litefs info`: what a node is and how it is. */
import type { ParsedArgs } from "../terminal/argv.ts"
import { command } from "../terminal/command.ts"
import type { FlagTable } from "../terminal/flags.ts"
import type { CliIo } from "../terminal/io.ts"
import { NODE_FLAGS, NodeApi, nodeSettings } from "./api.ts"
import { infoReport } from "./info-report.ts"
import { infoIn, infoText } from "./node-info.ts"

const FLAGS = {
  ...NODE_FLAGS,
  json: { kind: "boolean", help: "print the JSON that the node gives" },
  watch: {
    kind: "boolean",
    hasNoVariable: true,
    help: "show it live: nodes, databases, lag and commits per second; Ctrl-C ends",
  },
} as const satisfies FlagTable

export const INFO = command({
  name: "info",
  flags: FLAGS,
  about: `The info command will show what a node is: its role, its primary, its databases
with their positions, how far it is behind, and the replicas that are connected
to it.`,
  usage: "litefs info [flags]",
  notes: `The lag is the age of the last moment at which the node is known to have had
everything that its primary had. It is below a second or so while all is well.`,
  examples: `# a look
litefs info

# the cluster, live, with the last minutes as plots; a line every 2 s where that is no terminal
litefs info --watch

# another node
litefs info --url http://10.0.0.1:20202

# the position of a database, in a script
litefs info --json | jq -r '.databases[] | select(.name == "app.db").position'

# whether this node is the primary
test "$(litefs info --json | jq .isPrimary)" = true`,
  settings: nodeSettings("info"),
  run: info,
})

async function info(args: ParsedArgs<typeof FLAGS>, io: CliIo): Promise<number> {
  const api = new NodeApi(args)
  if (args.values.watch) {
    if (args.values.json)
      throw args.usageError("both --json and --watch are given, give one of them")
    return (await import("../watch/watch.ts")).watch(api, io)
  }
  const text = await infoText(api, io.clock)
  io.stdout(args.values.json ? text : infoReport(infoIn(text, api.origin), io.clock.wallMs()))
  return 0
}
