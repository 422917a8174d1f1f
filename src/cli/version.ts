/** `litefs version`. */
import packageJson from "../../package.json" with { type: "json" }
import { LitefsError } from "../lib/errors.ts"
import { REVISION } from "./revision.ts"
import type { ParsedArgs } from "./terminal/argv.ts"
import { command } from "./terminal/command.ts"
import type { FlagTable } from "./terminal/flags.ts"
import type { CliIo } from "./terminal/io.ts"

const FLAGS = {
  json: {
    kind: "boolean",
    help: "print it as JSON, with the commit that it is made of and its date",
  },
  licenses: { kind: "boolean", help: "print what is in the executable, and its licenses" },
} as const satisfies FlagTable

export const VERSION = command({
  name: "version",
  about: "The version command will print the version of LiteFS and what it runs on.",
  usage: "litefs version [flags]",
  flags: FLAGS,
  examples: `litefs version

# in a script
litefs version --json | jq -r .commit`,
  run: version,
})

async function version({ values }: ParsedArgs<typeof FLAGS>, io: CliIo): Promise<number> {
  const { json, licenses } = values
  if (json && licenses) {
    throw new LitefsError("usage", "Cannot print --json and --licenses at once: give one of them")
  }
  if (licenses) io.stdout((await import("./components.ts")).licensesText())
  else io.stdout(json ? versionJson() : `${versionLine()}\n`)
  return 0
}

/** `litefs 0.1.0 (bun 1.4.5, linux-x64)` */
function versionLine(): string {
  const runtime = `bun ${process.versions.bun}, ${process.platform}-${process.arch}`
  return `${packageJson.name} ${packageJson.version} (${runtime})`
}

function versionJson(): string {
  const { platform, arch } = process
  return `${JSON.stringify({ ...REVISION, runtime: `bun ${process.versions.bun}`, platform, arch }, undefined, 2)}\n`
}
