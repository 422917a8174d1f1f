/** House rules that neither compiler nor linter holds. Every message says how to mend it. */
import { describe, expect, test } from "bun:test"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"

/**
 * The layers of `src`, from the top. A file imports from its own folder and from layers further
 * down; neighbours in one layer do not know each other.
 */
const LAYERS = [
  ["main"],
  ["litefs"],
  ["workers"],
  ["cli", "node"],
  ["config"],
  ["proxy"],
  ["http"],
  ["cluster"],
  ["peer"],
  ["mount"],
  ["doctor"],
  ["recovery"],
  ["diverged"],
  ["capture"],
  ["store"],
  ["fuse", "wire"],
  ["ltx"],
  ["sqlite"],
  ["sys"],
  ["litefs-options"], // types only, which any layer may be handed
  ["lib"],
]

/**
 * The rooms of a folder, from the top; "." are the files that lie in it directly. A file imports values from its own
 * room and from rooms further down; an interface may come from any room.
 */
const ROOMS: Record<string, readonly string[]> = {
  cli: [
    ".",
    "shell",
    "mount",
    "sql",
    "watch",
    "node",
    "settings",
    "command",
    "doctor",
    "ltx",
    "terminal",
  ],
  node: [".", "front-door", "membership", "storage"],
  http: ["page", "status", "transfers", "streams", "roles", "server"],
  cluster: ["role", "stores", "locks", "replica", "."],
  peer: [".", "serve", "receive", "files", "wal", "locks"],
  mount: [".", "names", "databases", "files"],
  recovery: [".", "log"],
  wire: [".", "http2"],
  store: ["log", "ltx", "."],
  sys: ["process", "net", "bun", "bypass", "."],
  lib: ["codecs", "."],
}

/** Rooms that know nothing of the others, not even an interface: those declare what they need, others implement it. */
const CELLARS = ["peer/locks"]

/** As many files and folders as a reader takes in at a glance. */
const SIBLINGS_MAX = 22

/** Bytes in, values out: no files, sockets, clocks or libc. */
const PURE = ["wire", "ltx", "sqlite"]

/** Files outside `sys/` that may use what only Bun has: one for each such API. */
const BUN_ADAPTERS: readonly string[] = []

interface Source {
  /** Relative to `src`. */
  readonly path: string
  /** Without whole-line comments. */
  readonly lines: readonly { readonly number: number; readonly text: string }[]
}

const SRC = join(import.meta.dirname, "../src")
const SOURCES = globSync("**/*.ts", { cwd: SRC })
  .filter((path) => !path.endsWith(".d.ts"))
  .sort()
  .map(readSource)

const TESTS = globSync("**/*.{ts,mjs}", { cwd: import.meta.dirname }).filter(
  (path) => !path.startsWith("torture/programs/"),
)

function readSource(path: string): Source {
  const lines = readFileSync(join(SRC, path), "utf8")
    .split("\n")
    .map((text, index) => ({ number: index + 1, text }))
    .filter(({ text }) => !/^\s*(\/\/|\/\*|\*)/.test(text))
  return { path, lines }
}

/** Where a pattern occurs, as `src/path:line: what to do`. */
function offences(pattern: RegExp, advice: string, allowed: (path: string) => boolean): string[] {
  return SOURCES.filter(({ path }) => !allowed(path)).flatMap(({ path, lines }) =>
    lines
      .filter(({ text }) => pattern.test(text))
      .map(({ number }) => `src/${path}:${number}: ${advice}`),
  )
}

/** `store/positions.ts` is in "store", `main.ts` in "main". */
function folderOf(path: string): string {
  return path.split("/")[0]?.replace(/\.ts$/, "") ?? ""
}

/** `peer/wal/wal-applier.ts` is in "wal", `peer/thread.ts` in ".". */
function roomOf(path: string): string {
  const parts = path.split("/")
  return parts.length > 2 ? (parts[1] ?? ".") : "."
}

function rankOf(folder: string): number {
  return LAYERS.findIndex((layer) => layer.includes(folder))
}

interface Import {
  readonly path: string
  readonly number: number
  /** As it is written: `../lib/log.ts`, `node:fs`. */
  readonly specifier: string
  /** It is of types alone, or an import() that waits until it is reached. */
  readonly isLater: boolean
}

function importsOf({ path, lines }: Source): Import[] {
  let isOfTypes = false // the statement that this line belongs to
  return lines.flatMap(({ number, text }) => {
    if (/^(import|export)\b/.test(text)) isOfTypes = /^(import|export) type\b/.test(text)
    const isLater = isOfTypes || /\bimport\(/.test(text)
    const specifier = /(?:\bfrom|^\s*import|\bimport\()\s*"(?<specifier>[^"]+)"/.exec(text)?.groups
      ?.specifier
    return specifier === undefined ? [] : [{ path, number, specifier, isLater }]
  })
}

const IMPORTS = SOURCES.flatMap(importsOf)

/** What an import of ours leads to, relative to `src`; undefined for a package. */
function targetOf({ path, specifier }: Import): string | undefined {
  return specifier.startsWith(".") ? join(path, "..", specifier) : undefined
}

test("tidy: there is something to look at", () => {
  expect(SOURCES.length).toBeGreaterThan(10)
  expect(IMPORTS.length).toBeGreaterThan(20)
})

describe("tidy: layers", () => {
  test("every folder of src has its place", () => {
    const homeless = SOURCES.filter(({ path }) => rankOf(folderOf(path)) < 0).map(
      ({ path }) => `src/${path}: give its folder a place in LAYERS, in test/tidy.test.ts`,
    )
    expect(homeless).toEqual([])
  })

  test("imports point down", () => {
    const wrong = IMPORTS.flatMap((each) => {
      const target = targetOf(each)
      if (target === undefined || target === "../package.json") return []
      const [from, to] = [folderOf(each.path), folderOf(target)]
      if (from === to || rankOf(from) < rankOf(to)) return []
      return [
        `src/${each.path}:${each.number}: ${from} may not know ${to}; move what is shared further ` +
          `down, or declare an interface in ${from} that ${to} implements`,
      ]
    })
    expect(wrong).toEqual([])
  })

  test("every room has its place", () => {
    const homeless = SOURCES.filter(({ path }) => {
      return roomOf(path) !== "." && ROOMS[folderOf(path)]?.includes(roomOf(path)) !== true
    }).map(({ path }) => `src/${path}: give its room a place in ROOMS, in test/tidy.test.ts`)
    expect(homeless).toEqual([])
  })

  test("imports between rooms point down", () => {
    const wrong = IMPORTS.flatMap((each) => {
      const target = targetOf(each)
      const rooms = ROOMS[folderOf(each.path)]
      if (target === undefined || rooms === undefined) return []
      if (folderOf(target) !== folderOf(each.path) || !target.endsWith(".ts")) return []
      const [from, to] = [roomOf(each.path), roomOf(target)]
      if (each.isLater && !CELLARS.includes(`${folderOf(each.path)}/${from}`)) return []
      if (from === to || rooms.indexOf(from) < rooms.indexOf(to)) return []
      return [`src/${each.path}:${each.number}: room ${from} may not know room ${to}`]
    })
    expect(wrong).toEqual([])
  })

  test("no folder is a heap", () => {
    const siblings = new Map<string, Set<string>>()
    for (const { path } of SOURCES) {
      const parts = path.split("/")
      for (const [depth, name] of parts.entries()) {
        const folder = parts.slice(0, depth).join("/")
        siblings.set(folder, (siblings.get(folder) ?? new Set()).add(name))
      }
    }
    const heaps = [...siblings].filter(([folder, names]) => {
      return folder !== "" && names.size > SIBLINGS_MAX // LAYERS tells the folders of src apart
    })
    expect(
      heaps.map(([folder, { size }]) => `src/${folder}: ${size} siblings, make rooms`),
    ).toEqual([])
  })

  test("formats are pure", () => {
    const wrong = IMPORTS.filter(({ path, specifier }) => {
      return PURE.includes(folderOf(path)) && /^(node|bun):|\.\.\/sys\//.test(specifier)
    }).map(
      ({ path, number, specifier }) =>
        `src/${path}:${number}: a format does not use ${specifier}; take bytes, return values`,
    )
    expect(wrong).toEqual([])
  })

  test("what only Bun has stays in sys/ and in named adapters", () => {
    const advice = "use node: or Web APIs, or move it to sys/ or a file of BUN_ADAPTERS"
    const allowed = (path: string) => path.startsWith("sys/") || BUN_ADAPTERS.includes(path)
    expect(offences(/"bun(:[^"]+)?"|\bBun\./, advice, allowed)).toEqual([])
  })
})

/** What is loaded before the first line of a file runs: its imports, and theirs, but for types. */
function loadedBy(path: string, loaded = new Set<string>()): Set<string> {
  for (const each of IMPORTS) {
    if (each.path !== path || each.isLater) continue
    const target = targetOf(each) ?? each.specifier
    if (loaded.has(target)) continue
    loaded.add(target)
    loadedBy(target, loaded)
  }
  return loaded
}

describe("tidy: a start loads what it needs", () => {
  const SLOW = /^node:(crypto|http|https|tls|net|tty|child_process|fs\/promises)$/

  test.each([
    [
      "main.ts",
      /^node:(?!fs$|util$|path$)|^bun|^sys\/(?!errno\.ts$)|^litefs\.ts$|^cli\/(mount|version|sql)\.ts$/,
    ],
    ["cli/version.ts", SLOW],
    ["mount/thread.ts", SLOW],
    ["peer/thread.ts", SLOW],
  ])("%s", (path, slow) => {
    const loaded = [...loadedBy(path)]
    expect(loaded.length).toBeGreaterThan(3)
    const advice = `${path} loads it, which costs every start: import it where it is needed, with import()`
    expect(loaded.filter((each) => slow.test(each)).map((each) => `${each}: ${advice}`)).toEqual([])
  })
})

describe("tidy: effects have one home", () => {
  test.each([
    [
      /\bprocess\.exit\b/,
      "throw, or return an exit code; only main.ts ends the process, and faults.ts a thread",
      "main.ts sys/faults.ts",
    ],
    [
      /\bDate\.now\b|\bnew Date\(\)|\bperformance\.now\b|\bMath\.random\b|\bsetTimeout\b|\bsetInterval\b/,
      "take a Clock (lib/clock.ts) as a parameter, so that a test can own it",
      "lib/clock.ts",
    ],
    [
      /\bpostMessage\(|\bonmessage\b/,
      "threads talk through a Port (lib/port.ts): say what you need in its contract",
      "lib/port.ts mount/fs-mailbox.ts mount/fs-worker.ts mount/thread.ts peer/peer-worker.ts peer/thread.ts",
    ],
    [
      /\bcopyFileSync\(/,
      "use copyFile() of sys/file.ts: a named pipe waits for ever",
      "sys/file.ts",
    ],
    [/\bconsole\.\w+\(/, "use logger() of lib/log.ts, or the io of a command", "lib/log.ts"],
  ])("%p", (pattern, advice, homes) => {
    expect(offences(pattern, advice, (path) => homes.split(" ").includes(path))).toEqual([])
  })
})

/**
 * The lines of loops that sleep until something is so, and look at no clock. A loop may go on until a flag of the test
 * changes; a client that writes until it is killed is a program (torture/programs), or a `try` in a loop.
 */
function endlessPolls(text: string): number[] {
  const lines = text.split("\n")
  return lines.flatMap((head, index) => {
    const isLoop = /^ *(while \(|for \(;)/.test(head)
    if (!isLoop || /^ *while \(!?(this\.#)?is[A-Z]\w+\)|\) try /.test(head)) return []
    const indent = head.search(/\S/)
    const rest = lines.slice(index + 1)
    const length = rest.findIndex((line) => line.trim() !== "" && line.search(/\S/) <= indent)
    const loop = [head, ...rest.slice(0, Math.max(length, 0))].join("\n")
    const sleeps = /\bawait ([\w.]*[sS]leep\(|new Promise.*(setImmediate|setTimeout))/.test(loop)
    return sleeps && !/deadline|Ms\b|\.now\(/.test(loop) ? [index + 1] : []
  })
}

/** Of a thread or the process, once; or from a pool. */
const ALLOCATING = [
  ...["mount/thread.ts", "sys/device.ts", "sys/mailbox.ts", "sys/mount.ts"],
  ...["capture/overlay.ts", "store/ltx/ltx-directory.ts", "sys/memory.ts"],
]

test("tidy: memory that is never freed is not allocated again and again", () => {
  const inFunction = /^(?!(export )?const | {2}readonly #).*(= |\?\? |\(|\[|return )allocate\(/
  const advice = "allocate at the top of the file, or take the memory from a pool"
  expect(offences(inFunction, advice, (path) => ALLOCATING.includes(path))).toEqual([])
})

describe("tidy: nothing is left over", () => {
  test("in src", () => {
    const advice = "finish it, or open an issue and take the mark out"
    const all = SOURCES.map(({ path }) => path).filter((path) => {
      return /\b(FIXME|XXX|HACK)\b/.test(readFileSync(join(SRC, path), "utf8"))
    })
    expect(all.map((path) => `src/${path}: ${advice}`)).toEqual([])
  })

  test("in tests", () => {
    const focused = globSync("**/*.test.ts", { cwd: import.meta.dirname }).filter((path) => {
      return /\b(test|describe|it)\.only\b/.test(
        readFileSync(join(import.meta.dirname, path), "utf8"),
      )
    })
    expect(focused.map((path) => `test/${path}: run all tests, take the .only out`)).toEqual([])
  })

  test("of polls that nothing ends", () => {
    const advice =
      "wait with until() of test/support/until.ts, which has a limit and says what is missing"
    const endless = TESTS.flatMap((path) =>
      endlessPolls(readFileSync(join(import.meta.dirname, path), "utf8")).map(
        (line) => `test/${path}:${line}: ${advice}`,
      ),
    )
    expect(endless).toEqual([])
    expect(endlessPolls("while (!seen()) await Bun.sleep(1)\n")).toEqual([1])
    expect(endlessPolls("for (;;) {\n  if (seen()) return\n  await Bun.sleep(1)\n}\n")).toEqual([1])
  })

  test("of a registry's name in what is committed", () => {
    const files = ["package.json", "package-lock.json", ".npmrc"]
    const root = join(import.meta.dirname, "..")
    const named = files.filter((file) =>
      /https?:|registry=/.test(
        readFileSync(join(root, file), "utf8").replace(/"url": "https?:[^"]*"/g, ""),
      ),
    )
    expect(named.map((file) => `${file}: take the addresses out, npm knows its registry`)).toEqual(
      [],
    )
  })
})
