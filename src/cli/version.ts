/** `litefs version`. */
import { defineCommand } from "citty"
import packageJson from "../../package.json" with { type: "json" }
import { type CommandSyntax, parseArgs } from "./argv.ts"
import { helpText } from "./help.ts"
import type { CliIo } from "./io.ts"

const FLAGS = {}

const SYNTAX: CommandSyntax<typeof FLAGS> = { name: "version", flags: FLAGS, takesCommand: false }

export const VERSION_HELP = helpText({
  about: "The version command will print the version of LiteFS and what it runs on.",
  usage: "litefs version",
  flags: FLAGS,
  examples: "litefs version",
})

export function versionCommand(io: CliIo) {
  return defineCommand({
    meta: { name: "version" },
    run({ rawArgs }) {
      parseArgs(SYNTAX, rawArgs, io.env)
      io.stdout(`${versionLine()}\n`)
      return 0
    },
  })
}

/** `litefs 0.1.0 (bun 1.4.5, linux-x64)` */
export function versionLine(): string {
  const runtime = `bun ${process.versions.bun}, ${process.platform}-${process.arch}`
  return `${packageJson.name} ${packageJson.version} (${runtime})`
}
