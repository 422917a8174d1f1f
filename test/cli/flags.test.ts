/** The kinds of flags: what their values are, what is said of what is none, and that every table is whole. */
import { describe, expect, test } from "bun:test"
import { COMMANDS } from "../../src/cli/commands.ts"
import { MOUNT_FLAGS } from "../../src/cli/settings/mount-flags.ts"
import { parseArgs } from "../../src/cli/terminal/argv.ts"
import { type FlagTable, readText, Unfit, variableOf } from "../../src/cli/terminal/flags.ts"
import { readConfig } from "../../src/config/config-file.ts"
import { KEYS, type Key } from "../../src/config/keys.ts"
import { LitefsError } from "../../src/lib/errors.ts"

const FLAGS = {
  wait: { kind: "duration", default: "1m30s", help: "" },
  every: { kind: "duration", isPositive: true, help: "" },
  max: { kind: "size", help: "" },
  speed: { kind: "rate", help: "" },
  listen: { kind: "address", like: ":80", help: "" },
  target: { kind: "address", like: "localhost:80", isOfOther: true, help: "" },
  node: { kind: "url", like: "http://a:1", isList: true, separator: ",", help: "" },
  proxy: { kind: "url", like: "http://a:1", isPlain: true, help: "" },
  name: { kind: "name", help: "" },
  letters: { kind: "special", placeholder: "WORD", read: lettersOf, help: "" },
} as const satisfies FlagTable

const SYNTAX = { name: "test", flags: FLAGS }

function lettersOf(text: string): string[] {
  if (text === "bug") throw new TypeError("x is not a function")
  if (text === "other") throw new SyntaxError("it is another")
  if (text === "bad") throw new Unfit("it should be good")
  return [...text]
}

describe("a flag becomes", () => {
  test.each<[keyof typeof FLAGS, string, unknown]>([
    ["wait", "0", 0],
    ["wait", "250ms", 250],
    ["every", "1h", 3_600_000],
    ["max", "2GiB", 2 ** 31],
    ["speed", "50MB/s", 50e6],
    ["speed", "64KiB/s", 65536],
    ["speed", "0", 0],
    ["listen", ":80", { host: "", port: 80 }],
    ["listen", "[::1]:0", { host: "::1", port: 0 }],
    ["target", ":80", { host: "127.0.0.1", port: 80 }],
    ["node", "HTTP://A:1/,https://b", ["http://a:1", "https://b"]],
    ["proxy", "http://A/", "http://a"],
    ["name", "app.db", "app.db"],
    ["letters", "abc", ["a", "b", "c"]],
  ])("--%s %s", (flag, text, value) => {
    expect(parseArgs(SYNTAX, [`--${flag}`, text], {}).values[flag]).toEqual(value as never)
  })

  test("its default, as if it had been given, or nothing", () => {
    const { values, texts, isGiven } = parseArgs(SYNTAX, [], {})
    expect([values.wait, texts("wait"), isGiven("wait")]).toEqual([90_000, ["1m30s"], false])
    expect([values.every, values.node, texts("node")]).toEqual([undefined, [], []])
    expect(parseArgs(SYNTAX, ["--wait=90s"], {}).texts("wait")).toEqual(["90s"])
  })
})

describe("a flag is refused", () => {
  const { wait, every, max, speed } = {
    wait: "it should be a duration, like 10s or 1h30m",
    every: "it should be a duration above zero, like 10s or 1h30m",
    max: "it should be a size with a unit, like 512MiB or 2GiB, 64KiB at least",
    speed:
      "it should be bytes per second with a unit, like 50MB/s, 64KiB/s at least, or 0 for no limit",
  }
  test.each<[keyof typeof FLAGS, string, string]>([
    ["wait", "5", `, ${wait}`],
    ["wait", "-5s", `, it is negative, ${wait}`],
    ["every", "0", `, ${every}`],
    ["max", "1x", `, ${max}`],
    ["speed", "fast", `, ${speed}`],
    ["speed", "10", `, ${speed}`],
    ["speed", "63KiB/s", `, ${speed}`],
    ["listen", "80", ", it should be HOST:PORT or :PORT, like :80"],
    ["listen", ":65536", ", it should be HOST:PORT or :PORT, like :80"],
    ["target", "a", ", it should be HOST:PORT or :PORT, like localhost:80"],
    ["target", "a:0", ", its port should be 1 to 65535"],
    ["node", "a:1", ", it should start with http:// or https://, like http://a:1"],
    ["proxy", "https://a", ", it should start with http://, like http://a:1"],
    ["proxy", "http://a/b", ", it should end after the host and the port, like http://a:1"],
    ["name", "a/b", ': it contains "/", it should be like app.db'],
    ["letters", "bad", ", it should be good"],
    ["letters", "other", ": it is another"],
  ])("--%s=%s, as it was given", (flag, text, problem) => {
    const end = `is "${text}"${problem}`
    const file = new Map([[flag, [{ text, spelling: `a.${flag} (l.yml:7)` }]]])
    const variable = `LITEFS_${flag.toUpperCase()}`
    for (const [parse, spelling] of [
      [() => parseArgs(SYNTAX, [`--${flag}=${text}`], {}), `--${flag}`],
      [() => parseArgs(SYNTAX, [], { [variable]: text }), variable],
      [() => parseArgs(SYNTAX, [], {}, file), `a.${flag} (l.yml:7)`],
    ] as const) {
      expect(parse).toThrow(new LitefsError("usage", `Cannot run litefs test: ${spelling} ${end}`))
    }
  })

  test("when it is empty, or missing and required", () => {
    expect(() => parseArgs(SYNTAX, ["--wait="], {})).toThrow("--wait is empty, it should be DURAT")
    const flags = { name: { ...FLAGS.name, isRequired: true } } as const
    expect(() => parseArgs({ name: "test", flags }, [], {})).toThrow("no --name DB is given")
  })

  test("by a bug, which is told as one", () => {
    expect(() => parseArgs(SYNTAX, ["--letters", "bug"], {})).toThrow(TypeError)
  })
})

describe("the flags of", () => {
  test.each(Object.keys(COMMANDS))("%s say what they are", async (name) => {
    const {
      name: own,
      help,
      flags,
      parts,
      commands = [],
    } = await (COMMANDS[name]?.load() ?? fail())
    expect(own).toBe(name)
    for (const [flag, each] of Object.entries(flags)) {
      if (parts.flags === flags || flag in parts.flags) expect(help).toContain(`--${flag}`)
      expect(each.help).not.toBe("")
      expect(variableOf(flag, each) ?? "LITEFS_").toStartWith("LITEFS_")
      if (each.kind !== "boolean" && each.default !== undefined) readText(each, each.default)
    }
    for (const each of commands) {
      expect(each.name).toStartWith(`${name} `)
      expect(Object.keys(flags)).toEqual(expect.arrayContaining(Object.keys(each.flags)))
    }
  })

  test("mount are those that the keys of a file name", () => {
    const named = Object.values(KEYS).flatMap(({ flag, becomes = [] }) =>
      [flag ?? [], becomes].flat(),
    )
    expect(Object.keys(MOUNT_FLAGS)).toEqual(expect.arrayContaining(named))
    expect(keysOfFlag("primary-url")).toEqual(["lease.advertise-url"])
    expect(keysOfFlag("log-level")).toEqual(["log.debug"])
    expect(keysOfFlag("fuse-dir")).toEqual(["fuse.dir"])
    expect(keysOfFlag("peer")).toEqual([])
    const lease = "hostname: a, advertise-url: 'http://a:1', promote: true, databases: [a.db]"
    for (const candidate of [true, false]) {
      const text = `lease: {type: static, candidate: ${candidate}, ${lease}}\nlog: {debug: true}`
      const options = { env: {}, hasRole: () => false, isExpanded: true, flags: MOUNT_FLAGS }
      const { settings } = readConfig("l.yml", text, options)
      expect(settings.size).toBe(candidate ? 7 : 4)
      for (const [flag, [setting]] of settings) {
        expect(keysOfFlag(flag)).toContain(setting?.spelling.split(" ")[0] ?? "")
      }
    }
  })
})

function fail(): never {
  throw new Error("Cannot load it: there is none")
}

/** The keys of a file that say what this flag does. */
function keysOfFlag(flag: string): string[] {
  const isOf = (key: Key) => key.flag === flag || key.becomes?.includes(flag) === true
  return Object.entries(KEYS).flatMap(([name, key]) => (isOf(key) ? [name] : []))
}
