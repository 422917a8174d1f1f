/**
 * Machines of their own for commands as a user types them: a root file system that is this one until it is written to,
 * network addresses, processes. What happens in them, mounts included, is gone with them.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, readlinkSync } from "node:fs"
import { join, resolve } from "node:path"
import { canMount, MEMORY, PROGRAM, type Scope } from "./node.ts"
import { until } from "./until.ts"

const ROOT = resolve(import.meta.dirname, "../..")
const HOME = "/srv/app"

/** Whether they can be made here; they run the compiled program under its name. */
export const hasMachines =
  canMount &&
  PROGRAM.length === 1 &&
  spawnSync("unshare", ["-m", "-n", "-p", "--fork", "ip", "link", "add", "lan", "type", "bridge"])
    .status === 0

/** PID 1, which takes care of orphans. */
const SETUP = `set -e
# Mounts of other tests would stay busy here after they are unmounted there.
while read -r _ _ _ _ at rest; do
  case "$rest" in *" - fuse"*) umount -l "$at" || true ;; esac
done </proc/self/mountinfo
mount -t tmpfs none "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t tmpfs none tmp
mkdir -p "$PWD${ROOT}" && mount --bind "${ROOT}" "$PWD${ROOT}"
ip link set lo up
mkdir -p .${HOME} usr/local/bin
rm -rf litefs var/lib/litefs etc/litefs.yml usr/local/bin/litefs
ln -s "${PROGRAM[0]}" usr/local/bin/litefs
exec chroot . bash -c 'cd ${HOME}; sleep infinity & echo ready; wait'`

export interface Outcome {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** One for each address; they reach each other. */
export async function machines(scope: Scope, ...addresses: string[]): Promise<Machine[]> {
  const made: Machine[] = []
  for (const address of addresses) {
    const directory = mkdtempSync(join(MEMORY, "litefs-machine-"))
    scope.defer(() => void spawnSync("rmdir", [directory]))
    const machine = new Machine(address, directory)
    scope.defer(() => machine.end())
    await until(`machine ${address} is up`, () => machine.isUp, { context: () => machine.said })
    made.push(machine)
  }
  // A network of its own, so that it outlives any of them.
  const lan = spawn("unshare", ["-n", "sleep", "infinity"])
  scope.defer(() => void lan.kill("SIGKILL"))
  await until("the network is there", () => isApart(lan.pid))
  network(lan.pid, "link add lan type bridge", "link set lan up")
  for (const [index, machine] of made.entries()) {
    network(
      lan.pid,
      `link add port${index} type veth peer name eth0 netns ${machine.pid}`,
      `link set port${index} master lan up`,
    )
    network(machine.pid, `addr add ${machine.address}/24 dev eth0`, "link set eth0 up")
  }
  return made
}

function isApart(pid: number | undefined): boolean {
  return readlinkSync(`/proc/${pid}/ns/net`) !== readlinkSync("/proc/self/ns/net")
}

/** Commands of ip(8) in the network of a process. */
function network(pid: number | undefined, ...commands: string[]): void {
  for (const command of commands) {
    const words = ["-t", String(pid), "-n", "ip", ...command.split(" ")]
    const { status, stderr } = spawnSync("nsenter", words, { encoding: "utf8" })
    if (status !== 0) throw new Error(`ip ${command}: ${stderr}`)
  }
}

export class Machine {
  readonly address: string
  readonly #process: ChildProcess
  #started: ChildProcess[] = []
  said = ""
  isUp = false
  pid = 0

  constructor(address: string, directory: string) {
    this.address = address
    const words = ["-m", "-n", "-p", "--fork", "--kill-child", "bash", "-c", SETUP, "machine"]
    this.#process = spawn("unshare", [...words, directory])
    this.#process.stderr?.on("data", (text) => {
      this.said += text
    })
    this.#process.stdout?.on("data", () => {
      const { pid } = this.#process
      const [child = ""] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ")
      this.pid = Number(child)
      this.isUp = true
    })
  }

  get #words(): string[] {
    return ["-t", String(this.pid), "-m", "-n", "-p", "-r", "-w"]
  }

  /** Puts a file there. */
  write(path: string, text: string, mode = 0o644): void {
    const script = `mkdir -p "$(dirname "$1")" && cat > "$1" && chmod ${mode.toString(8)} "$1"`
    const words = [...this.#words, "sh", "-c", script, "sh", path]
    const { status, stderr } = spawnSync("nsenter", words, { input: text, encoding: "utf8" })
    if (status !== 0) throw new Error(`cannot write ${path}: ${stderr}`)
  }

  /** Runs a script in bash, up to the first command that fails. */
  async run(script: string, env: Record<string, string> = {}, limitMs = 60_000): Promise<Outcome> {
    const child = this.#spawn(script, env)
    const outcome = { out: "", err: "" }
    child.stdout?.on("data", (text) => {
      outcome.out += text
    })
    child.stderr?.on("data", (text) => {
      outcome.err += text
    })
    const { promise, resolve: ended } = Promise.withResolvers<number | null>()
    child.on("close", ended)
    const timer = setTimeout(() => child.kill("SIGKILL"), limitMs)
    const code = await promise
    clearTimeout(timer)
    return { code, ...outcome }
  }

  /** Starts a script that goes on. What it prints is in `said`. */
  start(script: string, env: Record<string, string> = {}): ChildProcess {
    const child = this.#spawn(script, env)
    const note = (text: Buffer) => {
      this.said += text
    }
    child.stdout?.on("data", note)
    child.stderr?.on("data", note)
    this.#started.push(child)
    return child
  }

  #spawn(script: string, env: Record<string, string>): ChildProcess {
    const words = [...this.#words, "bash", "-e", "-o", "pipefail", "-c", script]
    const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return spawn("nsenter", words, { env: { HOME: "/root", PATH: path, ...env } })
  }

  /** As when its power fails. */
  async end(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const closed = new Promise((resolve) => this.#process.once("exit", resolve))
    this.#process.kill("SIGKILL")
    await closed
    for (const child of this.#started) child.kill("SIGKILL")
  }
}
