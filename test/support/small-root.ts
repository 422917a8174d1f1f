/**
 * A container without an engine: a root directory with next to nothing in it, and LiteFS as PID 1 in it.
 *
 * In the root are the program, the application, `/proc`, `/dev/fuse`, `/dev/null`, a place to mount and one for data, and
 * what a layout adds. It is entered in mount and PID namespaces of its own, so nothing of it is mounted outside, and
 * everything ends with its first process.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { copyFileSync, linkSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { hostArchitecture } from "../../scripts/static/architecture.ts"
import { muslLibc } from "../../scripts/static/cxx-runtime.ts"
import { loaderFor } from "../../scripts/static/loader.ts"
import { compileForMusl } from "../../scripts/static/musl-program.ts"
import { until } from "./until.ts"

const PROBE = join(import.meta.dirname, "../static/probe.c")

/** What is in the root: nothing, or what musl's dynamic linker and some programs expect. */
export type Layout = "empty" | "alpine"

const ENTER = `
set -e
root=$1; shift
mount -t tmpfs -o size=64k,mode=755 dev "$root/dev"
mknod -m 666 "$root/dev/fuse" c 10 229
mknod -m 666 "$root/dev/null" c 1 3
mount -t proc proc "$root/proc"
exec chroot "$root" "$@"
`

export class SmallRoot {
  readonly directory: string

  private constructor(directory: string) {
    this.directory = directory
  }

  /** Fills a new directory. The application is `/bin/probe`. */
  static async make(directory: string, layout: Layout, program: string): Promise<SmallRoot> {
    for (const name of ["bin", "data", "dev", "litefs", "proc"]) {
      mkdirSync(join(directory, name), { recursive: true })
    }
    place(program, join(directory, "bin/litefs"))
    const architecture = hostArchitecture()
    const probe = join(directory, "bin/probe")
    if (layout === "empty") {
      await compileForMusl(architecture, PROBE, probe, "static")
    } else {
      const name = process.arch === "x64" ? "x86_64" : "aarch64"
      const interpreter = `/lib/ld-musl-${name}.so.1`
      for (const each of ["etc", "lib", "root", "run", "tmp", "usr/bin", "usr/lib", "var/lib"]) {
        mkdirSync(join(directory, each), { recursive: true })
      }
      copyFileSync(
        muslLibc(architecture, (await loaderFor(architecture)).directory),
        join(directory, interpreter),
      )
      writeFileSync(join(directory, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")
      writeFileSync(join(directory, "etc/hosts"), "127.0.0.1 localhost\n")
      await compileForMusl(architecture, PROBE, probe, { interpreter })
    }
    return new SmallRoot(directory)
  }

  start(args: readonly string[], env: Record<string, string> = {}): Container {
    return new Container(this.directory, args, env)
  }
}

/** As PID 1. */
export class Container {
  readonly exited: Promise<number | null>
  readonly #child: ChildProcess
  output = ""

  constructor(root: string, args: readonly string[], env: Record<string, string>) {
    const namespaces = ["--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
    this.#child = spawn("unshare", [...namespaces, "sh", "-c", ENTER, "sh", root, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...env },
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on("data", (text: Buffer) => {
        this.output += text.toString()
      })
    }
    this.exited = new Promise((done) => this.#child.once("close", done))
  }

  /** Rejects when it ends before, or after a minute. */
  async printed(pattern: RegExp): Promise<string> {
    const context = () => this.output
    const look = () => {
      const found = pattern.exec(this.output)?.[0]
      if (found === undefined && this.#child.exitCode !== null) throw new Error("it ended")
      return found
    }
    return until(`it prints ${pattern}`, look, { limitMs: 60_000, everyMs: 20, context })
  }

  /** Runs a program of the root beside it. */
  run(...command: readonly string[]): string {
    const target = ["--target", String(this.#firstProcess()), "--mount", "--pid", "--root", "--wd"]
    const { status, stdout, stderr } = spawnSync("nsenter", [...target, ...command], {
      encoding: "utf8",
      timeout: 60_000,
      env: {},
    })
    if (status !== 0) throw new Error(`${command.join(" ")}: ${status}\n${stdout}${stderr}`)
    return stdout
  }

  signal(name: NodeJS.Signals): void {
    process.kill(this.#firstProcess(), name)
  }

  kill(): void {
    this.#child.kill("SIGKILL") // and with it, all that is in there
  }

  /** Its PID outside. */
  #firstProcess(): number {
    const { pid } = this.#child
    const [first] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ")
    return Number(first)
  }
}

/** A second name for the file where that can be had, or else a copy. */
function place(program: string, path: string): void {
  mkdirSync(dirname(path), { recursive: true })
  try {
    linkSync(program, path)
  } catch {
    copyFileSync(program, path)
  }
}
