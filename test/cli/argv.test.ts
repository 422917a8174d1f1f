import { describe, expect, test } from "bun:test"
import { parseArgs } from "../../src/cli/terminal/argv.ts"
import { environmentName, type FlagTable } from "../../src/cli/terminal/flags.ts"
import { LitefsError, messageOf } from "../../src/lib/errors.ts"

const FLAGS = {
  primary: { kind: "boolean", help: "" },
  "fuse-dir": { kind: "text", placeholder: "DIR", default: "/litefs", help: "" },
  hostname: { kind: "text", placeholder: "NAME", help: "" },
  "log-format": { kind: "choice", choices: ["text", "json"], default: "text", help: "" },
} as const satisfies FlagTable

const SYNTAX = { name: "test", flags: FLAGS, takesCommand: true }

function parse(args: string[], env: Record<string, string> = {}) {
  return parseArgs(SYNTAX, args, env)
}

function errorOf(args: string[], env: Record<string, string> = {}): string {
  try {
    parse(args, env)
  } catch (error) {
    expect(error).toBeInstanceOf(LitefsError)
    expect((error as LitefsError).code).toBe("usage")
    return messageOf(error)
  }
  throw new Error("Cannot show the error: there was none")
}

const DEFAULTS = {
  primary: false,
  "fuse-dir": "/litefs",
  hostname: undefined,
  "log-format": "text",
} as const

describe("parseArgs()", () => {
  test("gives every flag its default", () => {
    const { values, command } = parse([])
    expect(values).toEqual(DEFAULTS)
    expect(command).toBeUndefined()
  })

  test.each([
    [["--fuse-dir", "/a"], { "fuse-dir": "/a" }],
    [["--fuse-dir=/a"], { "fuse-dir": "/a" }],
    [["-fuse-dir", "/a"], { "fuse-dir": "/a" }],
    [["-fuse-dir=/a"], { "fuse-dir": "/a" }],
    [["--fuse-dir=-a"], { "fuse-dir": "-a" }],
    [["--hostname=a=b"], { hostname: "a=b" }],
    [["--hostname", "a b"], { hostname: "a b" }],
    [["--primary"], { primary: true }],
    [["-primary"], { primary: true }],
    [["--primary=false"], { primary: false }],
    [["--primary=0"], { primary: false }],
    [["--primary", "--log-format", "json"], { primary: true, "log-format": "json" }],
  ] as const)("accepts %j", (args, given) => {
    expect(parse([...args]).values).toEqual({ ...DEFAULTS, ...given })
  })

  test.each([
    [["--", "app"], ["app"]],
    [
      ["--primary", "--", "app", "--primary", "-x"],
      ["app", "--primary", "-x"],
    ],
    [
      ["--", "sh", "-c", "echo  two  spaces"],
      ["sh", "-c", "echo  two  spaces"],
    ],
    [
      ["--", "app", "", "--", "--"],
      ["app", "", "--", "--"],
    ],
  ])("passes on the command in %j word by word", (args, command) => {
    expect(parse(args).command).toEqual(command)
  })

  test.each([
    [["--bogus"], "there is no flag --bogus, see litefs test --help"],
    [["--fuse-dri", "/a"], "there is no flag --fuse-dri, did you mean --fuse-dir?"],
    [["--hostnme=a"], "there is no flag --hostnme, did you mean --hostname?"],
    [["--no-primary"], "there is no flag --no-primary, see litefs test --help"],
    [["--toString"], "there is no flag --toString, see litefs test --help"],
    [["--fuseDir", "/a"], "there is no flag --fuseDir, did you mean --fuse-dir?"],
    [["-p"], "there is no flag --p, see litefs test --help"],
    [["--fuse-dir"], "--fuse-dir has no value, write --fuse-dir=VALUE"],
    [["--fuse-dir", "--primary"], "--fuse-dir has no value, write --fuse-dir=VALUE"],
    [["--fuse-dir", "--", "app"], "--fuse-dir has no value, write --fuse-dir=VALUE"],
    [["--fuse-dir="], "--fuse-dir is empty, it should be DIR"],
    [["--primary", "--primary"], "--primary is given twice, give it once"],
    [["--hostname", "a", "-hostname=b"], "--hostname is given twice, give it once"],
    [["--primary=a\nb"], '--primary is "a\\nb", it should be true or false'],
    [["--primary=maybe"], '--primary is "maybe", it should be true or false'],
    [["--log-format", "xml"], '--log-format is "xml", it should be one of text, json'],
    [["app"], '"app" is not a flag, write a command to run after "--"'],
    [["--primary", "false"], '"false" is not a flag, write a command to run after "--"'],
    [["-"], '"-" is not a flag, write a command to run after "--"'],
    [[""], '"" is not a flag, write a command to run after "--"'],
    [["--=a"], '"--=a" is not a flag, write a command to run after "--"'],
    [["--"], 'no command follows "--", write the command or leave "--" out'],
    [["--", ""], 'no command follows "--", write the command or leave "--" out'],
  ])("refuses %j", (args, problem) => {
    expect(errorOf(args)).toBe(`Cannot run litefs test: ${problem}`)
  })

  test("refuses a command when there is none to run", () => {
    expect(() => parseArgs({ ...SYNTAX, takesCommand: false }, ["--", "app"], {})).toThrow(
      'Cannot run litefs test: "--" is given, but it runs no command',
    )
  })
})

describe("parseArgs() with an environment", () => {
  test.each([
    [{ LITEFS_FUSE_DIR: "/a" }, { "fuse-dir": "/a" }],
    [{ LITEFS_PRIMARY: "1" }, { primary: true }],
    [{ LITEFS_PRIMARY: "true" }, { primary: true }],
    [{ LITEFS_PRIMARY: "TRUE" }, { primary: true }],
    [{ LITEFS_PRIMARY: "0" }, {}],
    [{ LITEFS_PRIMARY: "false" }, {}],
    [{ LITEFS_PRIMARY: "" }, {}],
    [{ LITEFS_FUSE_DIR: "" }, {}],
    [{ LITEFS_FUSE_DIR: "-odd" }, { "fuse-dir": "-odd" }],
    [{ LITEFS_UNKNOWN: "1", FUSE_DIR: "/a" }, {}],
  ])("reads %j", (env, given) => {
    expect(parse([], env as Record<string, string>).values).toEqual({ ...DEFAULTS, ...given })
  })

  test("prefers a flag", () => {
    const env = { LITEFS_FUSE_DIR: "/env", LITEFS_PRIMARY: "true" }
    const { values } = parse(["--fuse-dir", "/flag", "--primary=false"], env)
    expect(values).toEqual({ ...DEFAULTS, "fuse-dir": "/flag", primary: false })
  })

  test.each([
    [{ LITEFS_PRIMARY: "yes" }, 'LITEFS_PRIMARY is "yes", it should be true or false'],
    [{ LITEFS_LOG_FORMAT: "xml" }, 'LITEFS_LOG_FORMAT is "xml", it should be one of text, json'],
  ])("refuses %j", (env, problem) => {
    expect(errorOf([], env as Record<string, string>)).toBe(`Cannot run litefs test: ${problem}`)
  })

  test("says how a flag was given", () => {
    const { spelling } = parse(["-hostname", "a"], { LITEFS_FUSE_DIR: "/a" })
    expect(spelling("hostname")).toBe("--hostname")
    expect(spelling("fuse-dir")).toBe("LITEFS_FUSE_DIR")
    expect(spelling("primary")).toBe("--primary")
  })
})

describe("parseArgs() of lists", () => {
  const lists = {
    ...FLAGS,
    first: { kind: "text", isList: true, placeholder: "CMD", help: "" },
    second: { kind: "text", isList: true, placeholder: "CMD", help: "" },
  } as const satisfies FlagTable
  const syntax = { ...SYNTAX, flags: lists }

  test("keeps all values, and the order of several lists", () => {
    const args = ["--first", "a", "--second=b", "--primary", "--first=c"]
    const { values, inOrder } = parseArgs(syntax, args, { LITEFS_FIRST: "no" })
    expect([values.first, values.second]).toEqual([["a", "c"], ["b"]])
    expect(inOrder("second", "first")).toEqual([
      { name: "first", value: "a" },
      { name: "second", value: "b" },
      { name: "first", value: "c" },
    ])
  })

  test("are empty when not given, and have a line of their variable for each", () => {
    const { values, isGiven } = parseArgs(syntax, [], { LITEFS_SECOND: "\n a b \n\nc\n" })
    expect([values.first, values.second]).toEqual([[], ["a b", "c"]])
    expect([isGiven("first"), isGiven("second")]).toEqual([false, true])
  })

  test("have no empty value", () => {
    expect(() => parseArgs(syntax, ["--first="], {})).toThrow("--first is empty, it should be CMD")
  })
})

describe("parseArgs() with the settings of a file", () => {
  const settings = new Map(
    Object.entries({ "fuse-dir": "/file", primary: "true", "log-format": "json" }).map(
      ([name, text]) => [name, [{ text, spelling: `${name} (l.yml:1)` }]],
    ),
  )

  test("prefers a flag, then a variable, then a setting", () => {
    const env = { LITEFS_FUSE_DIR: "/env", LITEFS_PRIMARY: "0" }
    const { values } = parseArgs(SYNTAX, ["--fuse-dir", "/flag"], env, settings)
    expect(values).toEqual({
      ...DEFAULTS,
      "fuse-dir": "/flag",
      primary: false,
      "log-format": "json",
    })
  })

  test("names the setting in messages", () => {
    const bad = new Map([["log-format", [{ text: "xml", spelling: "log.format (l.yml:3)" }]]])
    expect(() => parseArgs(SYNTAX, [], {}, bad)).toThrow(
      'log.format (l.yml:3) is "xml", it should be one of text, json',
    )
  })
})

test("environmentName() is the flag in capitals", () => {
  expect(environmentName("primary-url")).toBe("LITEFS_PRIMARY_URL")
})

describe("parseArgs() of a command that takes words", () => {
  const words = { placeholder: "PATH", countMin: 1 }
  const syntax = { name: "test", flags: FLAGS, takesCommand: false, words }

  test("keeps them in order, whatever flags are between them", () => {
    const args = ["a", "--hostname", "h", "b", "--primary", "c"]
    const { words, values } = parseArgs(syntax, args, {})
    expect(words).toEqual(["a", "b", "c"])
    expect(values).toMatchObject({ hostname: "h", primary: true })
  })

  test.each([
    [[], "Cannot run litefs test: no PATH is given, see litefs test --help"],
    [["-"], 'Cannot run litefs test: "-" is not a flag'],
    [[""], 'Cannot run litefs test: "" is not a flag'],
  ])("refuses %j", (args, message) => {
    expect(() => parseArgs(syntax, args, {})).toThrow(message)
  })
})
