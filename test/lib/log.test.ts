import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { LitefsError } from "../../src/lib/errors.ts"
import {
  configureLog,
  LOG_LEVELS,
  type LogFields,
  type LogFormat,
  type LogLevel,
  logger,
  onLine,
} from "../../src/lib/log.ts"

/** Made before the log is configured, as a module does it. */
const log = logger("store")

let lines: string[] = []

beforeEach(() => {
  lines = []
})

afterEach(() => configureLog({ level: "error", format: "text" }))

function configure(level: LogLevel, format: LogFormat) {
  configureLog({ level, format }, (line) => lines.push(line))
}

describe("logger() as text", () => {
  test("begins with the time, in UTC", () => {
    configure("info", "text")
    const before = Date.now()
    log.info("database opened", { pgno: 7 })
    const [, time = "", rest] = /^time=(\S+) (.*)\n$/.exec(lines[0] ?? "") ?? []
    expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect(Date.parse(time)).toBeGreaterThanOrEqual(before)
    expect(Date.parse(time)).toBeLessThanOrEqual(Date.now())
    expect(rest).toBe('level=info tag=store msg="database opened" pgno=7')
  })

  test.each([
    [undefined, ""],
    [{}, ""],
    [{ pgno: 7, size: 1.5, clean: true, role: null }, " pgno=7 size=1.5 clean=true role=null"],
    [{ txid: 0xffff_ffff_ffff_ffffn }, " txid=18446744073709551615"],
    [{ url: "http://10.0.0.1:20202" }, " url=http://10.0.0.1:20202"],
    [{ path: "/a b", name: "", query: "a=b" }, ' path="/a b" name="" query="a=b"'],
    [{ text: 'say "hi"\n\x1b[0m' }, ' text="say \\"hi\\"\\n\\u001b[0m"'],
    [{ primary: undefined, role: "replica" }, " role=replica"],
  ] as [LogFields | undefined, string][])("prints fields: %#", (fields, end) => {
    configure("info", "plain")
    log.info("database opened", fields)
    expect(lines).toEqual([`level=info tag=store msg="database opened"${end}\n`])
  })

  test("tells a condition in its words, and a bug with its stack", () => {
    configure("info", "plain")
    log.error("cannot apply", { error: new LitefsError("damaged", "Cannot decode: it is torn") })
    log.error("cannot apply", { error: new TypeError("x is not a function") })
    expect(lines[0]).toBe(
      'level=error tag=store msg="cannot apply" error="Cannot decode: it is torn"\n',
    )
    expect(lines[1]).toContain("x is not a function")
    expect(lines[1]).toContain("log.test.ts")
    expect(lines[1]?.indexOf("\n")).toBe((lines[1]?.length ?? 0) - 1)
  })

  test("does not fold lines that repeat", () => {
    configure("info", "plain")
    for (let count = 0; count < 20; count++) log.info("again")
    expect(lines).toHaveLength(20)
  })
})

describe("logger() as JSON", () => {
  test("prints one object a line", () => {
    configure("info", "json")
    log.warn("primary lost", { url: "http://a", txid: 5n, error: new LitefsError("io", "gone") })
    const [line = ""] = lines
    expect(line).toEndWith("}\n")
    const { time, ...rest } = JSON.parse(line)
    expect(new Date(time).toISOString()).toBe(time)
    expect(rest).toEqual({
      level: "warn",
      tag: "store",
      msg: "primary lost",
      url: "http://a",
      txid: "5",
      error: "gone",
    })
  })
})

test.each([...LOG_LEVELS])("configureLog() with %s leaves out what is finer", (level) => {
  configure(level, "json")
  for (const each of LOG_LEVELS) log[each]("x")
  const printed = lines.map((line) => JSON.parse(line).level)
  expect(printed).toEqual(LOG_LEVELS.slice(0, LOG_LEVELS.indexOf(level) + 1))
})

test("logger() writes to stderr, in a Worker too", async () => {
  const program = `
    import { configureLog, logger } from ${JSON.stringify(`${import.meta.dirname}/../../src/lib/log.ts`)}
    configureLog({ level: "debug", format: "plain" })
    logger(Bun.isMainThread ? "main" : "worker").debug("hello")
    if (Bun.isMainThread) new Worker(import.meta.url)
  `
  const path = `${process.env.TMPDIR ?? "/tmp"}/litefs-log-${process.pid}.ts`
  await Bun.write(path, program)
  const { stdout, stderr, exitCode } = Bun.spawnSync([process.execPath, path])
  await Bun.file(path).delete()
  expect({ out: stdout.toString(), err: stderr.toString(), exitCode }).toEqual({
    out: "",
    err: "level=debug tag=main msg=hello\nlevel=debug tag=worker msg=hello\n",
    exitCode: 0,
  })
})

test("onLine() hears what happens, also what the log leaves out, until it is ended", () => {
  configure("error", "text")
  const heard: unknown[] = []
  const stop = onLine(({ level, tag, msg, fields }) => heard.push([level, tag, msg, fields]))
  log.info("opened", { pgno: 7, none: undefined })
  log.error("failed", { error: new Error("a bug") })
  log.debug("a step")
  stop()
  log.warn("later")
  expect(heard).toEqual([
    ["info", "store", "opened", { pgno: "7" }],
    ["error", "store", "failed", { error: "a bug" }],
  ])
  expect(lines.length).toBe(1)
})
