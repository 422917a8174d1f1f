/**
 * Commands on the data directory of a node that is stopped, in which one system call fails, for each call in turn.
 * Afterwards nothing that was there is lost, and the command succeeds when it is given again.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { basename, join } from "node:path"
import { completeKept, keepHistory } from "../../src/diverged/kept-history.ts"
import { isLeftover } from "../../src/recovery/leftovers.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { readLtxFile } from "../../src/store/ltx/ltx-file.ts"
import { start } from "../support/client.ts"
import { type DatabaseFixture, DataDirectory } from "../support/data-directory.ts"
import { DirectoryImage } from "../support/directory-image.ts"
import { PROGRAM, type Scope } from "../support/node.ts"
import { CallFaults } from "./call-faults.ts"
import type { SiteChoice } from "./site-choice.ts"
import {
  type Fault,
  isEnd,
  noteHit,
  noteSites,
  planOf,
  type SweepOptions,
  type Target,
} from "./sweep.ts"

export interface Command {
  readonly name: string
  /** Brings the database into the state that the command is for. */
  prepare(app: DatabaseFixture, root: string): void
  /** `output` is for a file that it makes. */
  words(root: string, output: string): string[]
  /** What has the same bytes after each run that succeeds. */
  made(root: string, output: string): string
}

const APP = "app.db"
const databaseOf = (root: string) => join(root, "dbs", APP, "database")

function keep(app: DatabaseFixture, root: string): void {
  const { header, trailer } = readLtxFile(app.ltxPath(Number(app.txid)))
  const pos = { txid: app.txid, checksum: trailer.postApplyChecksum }
  const dataDir = new DataDir(root)
  const { label } = keepHistory(dataDir, {
    ...{ database: APP, pos, pageSize: header.pageSize, commit: header.commit, keptMs: 0 },
    ...{ reason: "it is ahead", primary: { name: "other", pos } },
  })
  completeKept(dataDir, label)
}

const repair = {
  words: (root: string) => ["doctor", "--repair", "--data-dir", root],
  made: databaseOf,
}

export const COMMANDS: readonly Command[] = [
  { ...repair, name: "doctor-damage", prepare: (app) => app.flip(2000, "database") },
  {
    ...repair,
    name: "doctor-journal",
    prepare(app) {
      app.sqlite.run("PRAGMA cache_size=2")
      app.sqlite.run("BEGIN")
      app.sqlite.run("UPDATE t SET a = hex(randomblob(300))")
      app.save()
    },
  },
  {
    name: "diverged-export",
    // The pages that it has not are in the log.
    prepare(app, root) {
      app.flip(2000, "database")
      keep(app, root)
    },
    words: (root, output) => ["diverged", "export", "--data-dir", root, "1970", output],
    made: (_, output) => output,
  },
  {
    name: "ltx-apply",
    prepare: () => {},
    words: (root, output) => ["ltx", "apply", "--output", output, join(root, "dbs", APP)],
    made: (_, output) => output,
  },
]

export type CommandFaultsOptions = SweepOptions & { readonly choice: SiteChoice }

export class CommandFaults implements Target {
  readonly #options: CommandFaultsOptions
  readonly #command: Command
  readonly #faults: CallFaults
  readonly #image: DirectoryImage
  readonly #root: string
  readonly #output: string
  #first: Buffer | undefined // that it has made
  #last = ""

  static async start(scope: Scope, options: CommandFaultsOptions, command: Command) {
    using data = new DataDirectory()
    command.prepare(data.database(APP), data.root)
    const directory = mkdtempSync(join(scope.directory, "command-"))
    return new CommandFaults(options, command, directory, new DirectoryImage(data.root))
  }

  private constructor(
    options: CommandFaultsOptions,
    command: Command,
    directory: string,
    image: DirectoryImage,
  ) {
    this.#options = options
    this.#command = command
    this.#image = image
    this.#faults = new CallFaults(join(directory, "command"))
    this.#root = join(directory, "data")
    this.#output = join(directory, "output.db")
  }

  get logs(): string {
    return this.#last
  }

  async allFaults(): Promise<Fault[]> {
    const { result, mode, choice } = this.#options
    this.#reset()
    this.#faults.countSites()
    await this.#succeed()
    this.#faults.set("")
    for (const op of this.#faults.ops) result.calls.add(op)
    const sites = this.#faults.sites()
    noteSites(result, sites)
    return choice.faultsOf(this.#command.name, mode, sites)
  }

  async fail(fault: Fault): Promise<void> {
    const { result } = this.#options
    this.#reset()
    this.#faults.set(planOf(fault))
    const { code } = await this.#run()
    const hasHit = this.#faults.hitCount > 0
    if (hasHit) {
      noteHit(result, fault)
    }
    this.#faults.set("")
    const kept = contentsOf(new DirectoryImage(this.#root))
    for (const { name, bytes } of this.#image.files) {
      const isIgnored = name.endsWith("/shm") || name === "lock"
      if (!isIgnored && !kept.has(Bun.hash(bytes))) throw new Error(`LOST: what was in ${name}`)
    }
    if (code === 0) this.#expectMade()
    else if (this.#command.made(this.#root, this.#output) === this.#output)
      rmSync(this.#output, { force: true })
    if (code !== 0) await this.#succeed()
    const { files } = new DirectoryImage(this.#root)
    // Where the command could not remove it, the next start does.
    const mayLeave = isEnd(fault.duration) || fault.duration === "untidy"
    const isStray = ({ name }: { name: string }) =>
      /^dbs.*(\.repairing|\.tmp|\.part)/.test(name) && !(mayLeave && isLeftover(basename(name)))
    const stray = files.find(isStray)
    if (stray !== undefined) throw new Error(`there is left: ${stray.name}`)
  }

  #reset(): void {
    for (const path of [this.#root, this.#output]) rmSync(path, { recursive: true, force: true })
    this.#image.writeTo(this.#root)
    this.#faults.forget()
  }

  async #succeed(): Promise<void> {
    const { code } = await this.#run()
    if (code !== 0) throw new Error("it does not succeed without a fault")
    this.#expectMade()
  }

  async #run() {
    const words = [...PROGRAM, ...this.#command.words(this.#root, this.#output)]
    const ended = await start(words, { env: this.#faults.env }).ended
    this.#last = `${ended.code} ${ended.signal}\n${ended.stdout}${ended.stderr}`
    return ended
  }

  /** The first that is made is right: the command has looked at its checksum. */
  #expectMade(): void {
    const path = this.#command.made(this.#root, this.#output)
    const made = existsSync(path) ? readFileSync(path) : Buffer.alloc(0)
    this.#first ??= made
    if (made.length === 0 || !made.equals(this.#first)) throw new Error(`${path} is not as it was`)
  }
}

function contentsOf({ files }: DirectoryImage): Set<number | bigint> {
  return new Set(files.map(({ bytes }) => Bun.hash(bytes)))
}
