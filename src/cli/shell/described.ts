import type { Command } from "../terminal/command.ts"

/** A command with what the list of all commands says of it. */
export interface DescribedCommand {
  readonly name: string
  readonly about: string
  readonly loaded: Command
}
