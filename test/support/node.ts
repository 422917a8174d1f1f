/**
 * Real nodes for mount tests: the program as a process of its own, its mount and data under a temporary
 * directory.
 *
 * 1. The test never touches a mount itself, not even with `existsSync`: a hung mount would hang the test. It
 *    asks client processes (`client.ts`), which have a time limit.
 * 2. Whatever a test starts is ended and unmounted when the test is over, also when it has failed.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs"
import { createServer } from "node:net"
import { release, tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { obstacleOf, thisMachine } from "../../src/node/storage/passing.ts"
import { refuseStackTrace } from "./stack-trace.ts"

const ROOT = resolve(import.meta.dir, "../..")

/** The compiled program when LITEFS_PROGRAM names one, else the sources. */
export const PROGRAM: readonly string[] =
  process.env.LITEFS_PROGRAM === undefined
    ? [process.execPath, join(ROOT, "src/main.ts")]
    : [resolve(ROOT, process.env.LITEFS_PROGRAM)]

/** Whether mounts can be made here at all; tests are skipped where not. */
export const canMount =
  process.getuid?.() === 0 && spawnSync("sh", ["-c", "exec 3<>/dev/fuse"]).status === 0

/** A file system on top of others, which a container has for what is on no volume: overlayfs. */
const OVERLAY = 0x794c7630

/** Whether writers of a WAL pass a node that is started here; tests of that are skipped where not. */
export const canPass =
  canMount &&
  isFrom(release(), 6, 9) &&
  statfsSync(tmpdir()).type !== OVERLAY &&
  obstacleOf(thisMachine(true)) === undefined

function isFrom(release: string, major: number, minor: number): boolean {
  const [ours = 0, next = 0] = release.split(".").map((part) => Number.parseInt(part, 10))
  return ours > major || (ours === major && next >= minor)
}

/** In the name of a test that runs with locks that the daemon keeps, not the kernel: flagsOf() has its flags. */
export const SEEN_LOCKS = " with --forward-writes"

/** In the name of a test of what only a node does that sees each write to a WAL, which is not the default. */
export const STRICT = " with --capture strict"

export function flagsOf(name: string): readonly string[] {
  if (name === STRICT) return ["--capture", "strict"]
  return name === SEEN_LOCKS ? ["--forward-writes"] : []
}

/** Has the nodes that `act` starts see each write to a WAL, or, with `how` "", do as they do by themselves. */
export async function inCapture(how: string, act: () => Promise<void>): Promise<void> {
  const { LITEFS_CAPTURE: before } = process.env
  if (how === STRICT) process.env.LITEFS_CAPTURE = "strict"
  try {
    await act()
  } finally {
    if (before === undefined) delete process.env.LITEFS_CAPTURE
    else process.env.LITEFS_CAPTURE = before
  }
}

export interface NodeOptions {
  /** The node to follow; without one this is the primary. */
  readonly follows?: TestNode | { readonly url: string }
  /** A store that says who is the primary; this node is then neither it nor a replica by its flags. */
  readonly lease?: string
  readonly flags?: readonly string[]
  readonly env?: Record<string, string>
  /** A command to run beside it, after `--`. */
  readonly command?: readonly string[]
  /** A command that runs the program: setpriv, unshare. */
  readonly through?: readonly string[]
  /** An earlier node's, to start it again; or another that has a `mnt` in it. */
  readonly directory?: string
  readonly port?: number
  /** A litefs.yml in its directory, which becomes the current one, in the place of all flags of its own. */
  readonly config?: string
  /** Whether other machines reach its API. */
  readonly isOpen?: boolean
  /** Whether it may meet what is a bug of ours, and tell it with a stack trace. */
  readonly mayCrash?: boolean
  /** How long it may take until it is mounted. */
  readonly startLimitMs?: number
}

/** A place for data directories where a sync costs nothing, if there is such a place. */
export const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : tmpdir()

/** Ends what was added to it, last first, when it is disposed: `await using scope = new Scope()`. */
export class Scope implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack()
  readonly directory: string

  constructor(parent = tmpdir()) {
    this.directory = mkdtempSync(join(parent, "litefs-test-"))
    this.#stack.defer(() => rmSync(this.directory, { recursive: true, force: true }))
  }

  defer(end: () => void | Promise<void>): void {
    this.#stack.defer(end)
  }

  /** Starts a node and waits until it is mounted. */
  async node(options: NodeOptions = {}): Promise<TestNode> {
    const node = await this.spawn(options)
    await node.logged(/msg=mounted/, options.startLimitMs)
    await node.prepared()
    return node
  }

  /** Starts a node that has ended again, where it was. */
  again({ directory, port }: TestNode, options: NodeOptions = {}): Promise<TestNode> {
    return this.node({ directory, port, ...options })
  }

  /** Starts a node and does not wait. */
  async spawn(options: NodeOptions = {}): Promise<TestNode> {
    const node = new TestNode(
      options.directory ?? mkdtempSync(join(this.directory, "node-")),
      options.port ?? (await freePort()),
      options,
    )
    this.#stack.defer(() => node.end())
    return node
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export class TestNode {
  readonly directory: string
  readonly mount: string
  readonly data: string
  readonly port: number
  readonly exited: Promise<Exit>
  /** All output, when it has ended and nothing it has started holds its streams. */
  readonly wholeOutput: Promise<string>
  readonly #child: ChildProcess
  readonly #mayCrash: boolean
  #output = ""
  #listeners = new Set<() => void>()

  constructor(directory: string, port: number, options: NodeOptions) {
    this.directory = directory
    this.port = port
    this.#mayCrash = options.mayCrash === true
    this.mount = join(directory, "mnt")
    this.data = join(directory, "data")
    if (options.directory === undefined) mkdirSync(this.mount)
    const { follows, lease } = options
    const byFlag = follows === undefined ? ["--primary"] : ["--primary-url", follows.url]
    const role = lease === undefined ? byFlag : ["--lease", lease]
    const own = [
      ...role,
      ...["--fuse-dir", this.mount, "--data-dir", this.data],
      ...[
        "--http-addr",
        `${options.isOpen ? "" : "127.0.0.1"}:${port}`,
        "--hostname",
        `node-${port}`,
      ],
    ]
    if (options.config !== undefined) writeFileSync(join(directory, "litefs.yml"), options.config)
    const args = [
      "mount",
      ...(options.config === undefined ? own : []),
      ...(options.flags ?? []),
      ...(options.command === undefined ? [] : ["--", ...options.command]),
    ]
    const [program, ...words] = [...(options.through ?? []), ...PROGRAM, ...args]
    this.#child = spawn(program as string, words, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...options.env },
      ...(options.config === undefined ? {} : { cwd: directory }),
    })
    const take = (text: Buffer) => {
      this.#output += text.toString()
      for (const listener of this.#listeners) listener()
    }
    this.#child.stdout?.on("data", take)
    this.#child.stderr?.on("data", take)
    this.exited = new Promise((done) => {
      this.#child.once("exit", (code, signal) => done({ code, signal }))
    })
    this.wholeOutput = new Promise((done) => {
      this.#child.once("close", () => done(this.#output))
    })
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  get pid(): number {
    return this.#child.pid as number
  }

  /** Everything it has written so far, log and command alike. */
  get output(): string {
    return this.#output
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Resolves when its output matches; rejects when it ends before, or after the limit. */
  async logged(pattern: RegExp, limitMs = 20_000): Promise<string> {
    const deadline = Date.now() + limitMs
    // The last look comes after the last wait: a test that waits for a process keeps what is written from being read.
    for (let isLast = false; ; ) {
      const match = pattern.exec(this.#output)
      if (match !== null) return match[0]
      if (!this.isRunning) throw new Error(`the node ended without ${pattern}:\n${this.#output}`)
      if (isLast) throw new Error(`no ${pattern} in ${limitMs / 1000} s:\n${this.#output}`)
      isLast = Date.now() > deadline
      await new Promise<void>((wake) => {
        const done = () => {
          clearTimeout(timer)
          this.#listeners.delete(done)
          wake()
        }
        const timer = setTimeout(done, 100)
        this.#listeners.add(done)
      })
    }
  }

  /** When its commit log is there, so that commits take the way that they take ever after; where that fails it is not. */
  async prepared(): Promise<void> {
    const segments = [0, 1].map((index) => join(this.data, `commit-log.${index}`))
    for (let look = 0; look < 200 && this.isRunning; look++) {
      if (segments.every((path) => existsSync(path))) return
      if (/cannot prepare the commit log/.test(this.#output)) return
      await Bun.sleep(10)
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<Exit> {
    this.signal(signal)
    return this.exited
  }

  /** Ends it, however it is, and takes its mount away. */
  async end(): Promise<void> {
    if (this.isRunning) {
      const timer = setTimeout(() => this.signal("SIGKILL"), 8000)
      // One that was killed while a thread of its own waited for the mount ends only when that is aborted.
      const last = setTimeout(() => this.#unmount(), 10_000)
      await this.stop()
      clearTimeout(timer)
      clearTimeout(last)
    }
    this.#unmount()
    if (!this.#mayCrash) refuseStackTrace(this.#output, `the node at ${this.url}`)
  }

  /** Also aborts a connection that a killed daemon has left hanging. umount(8) may block on a stuck mount. */
  #unmount(): void {
    spawnSync("umount", ["-f", "-l", this.mount], { stdio: "ignore", timeout: 5000 })
  }
}

/** Mounts below a directory, as the kernel lists them. */
export function mountsBelow(directory: string): string[] {
  const targets = readFileSync("/proc/self/mounts", "utf8").split("\n")
  return targets.filter((line) => line.split(" ")[1]?.startsWith(`${directory}/`))
}

/** Which part of the ports this process takes: other files of tests that run now take the others. */
const [LANE = 0, LANES = 1] = (process.env.LITEFS_TEST_LANE ?? "0/1").split("/").map(Number)

const given = new Set<number>()

/**
 * A port nobody listens on, for now. It is none of those that the kernel gives to outgoing connections, of which one
 * could have it when a node is started again.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + LANE + LANES * Math.floor((Math.random() * 22_000) / LANES)
    if (given.has(port)) continue // to a test that is about to listen on it
    given.add(port)
    const server = createServer()
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false))
      server.listen(port, "127.0.0.1", () => resolve(true))
    })
    if (!isFree) continue
    await new Promise((resolve) => server.close(resolve))
    return port
  }
}
