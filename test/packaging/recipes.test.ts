/** The recipes for images, for three nodes and for a service: what can be said of them without an engine. */
import { describe, expect, test } from "bun:test"
import { existsSync, globSync, readFileSync } from "node:fs"
import { basename, join, resolve } from "node:path"
import { MOUNT_SYNTAX } from "../../src/cli/settings/mount-flags.ts"
import { mountOptions } from "../../src/cli/settings/mount-options.ts"
import { parseArgs } from "../../src/cli/terminal/argv.ts"
import { parseYaml } from "../../src/sys/bun/yaml.ts"

const ROOT = resolve(import.meta.dirname, "../..")
const DIRECTORY = join(ROOT, "packaging")
/** Made by `scripts/release`, so it need not be there. */
const RELEASE = "dist/release/"

interface Instruction {
  readonly word: string
  readonly rest: string
}

/** Lines of a Dockerfile, those that are continued put together. */
function instructions(name: string): Instruction[] {
  const lines = readFileSync(join(DIRECTORY, name), "utf8").replace(/\\\n/g, " ").split("\n")
  return lines
    .filter((line) => line.trim() !== "" && !line.startsWith("#"))
    .map((line) => {
      const [, word = "", rest = ""] = /^([A-Z]+) (.*)$/.exec(line) ?? []
      return { word, rest }
    })
}

function wordsOf(all: readonly Instruction[], word: string): string[] {
  return JSON.parse(all.findLast((each) => each.word === word)?.rest ?? "[]")
}

/** Whether `litefs mount` would take the words, and where the application is. */
function checkMount(words: readonly string[], env: Record<string, string> = {}) {
  const args = parseArgs(MOUNT_SYNTAX, words, env)
  return { options: mountOptions(args), command: args.command }
}

const DOCKERFILES = globSync(join(DIRECTORY, "Dockerfile*"))
  .map((path) => basename(path))
  .sort()

test("there is a recipe for nothing, for Alpine and for Debian", () => {
  expect(DOCKERFILES).toEqual(["Dockerfile", "Dockerfile.alpine", "Dockerfile.debian"])
})

describe.each(DOCKERFILES)("%s", (name) => {
  const all = instructions(name)

  test("has only instructions that there are, begins with FROM and copies what is there", () => {
    const known = ["FROM", "ARG", "COPY", "RUN", "WORKDIR", "ENV", "VOLUME", "EXPOSE"]
    const words = all.map(({ word }) => word)
    expect(words.filter((word) => ![...known, "ENTRYPOINT", "CMD"].includes(word))).toEqual([])
    expect(words[0]).toBe("FROM")

    const stages = all.flatMap(({ word, rest }) =>
      word === "FROM" ? [/ AS (\S+)$/.exec(rest)?.[1]] : [],
    )
    for (const { word, rest } of all) {
      if (word !== "COPY") continue
      const [, stage] = /^--from=(\S+)/.exec(rest) ?? []
      if (stage !== undefined) expect(stages).toContain(stage)
      else for (const path of rest.split(" ").slice(0, -1)) expectSource(path)
    }
    for (const [, path = ""] of all.flatMap(({ rest }) => [
      ...rest.matchAll(/source=([^,\s]+)/g),
    ])) {
      expectSource(`${path}/`)
    }
  })

  test("starts a node with flags that there are", () => {
    const [program, command, ...flags] = [...wordsOf(all, "ENTRYPOINT"), ...wordsOf(all, "CMD")]
    expect(basename(program ?? "")).toBe("litefs")
    expect(command).toBe("mount")
    const { options } = checkMount(flags)
    const made = all.map(({ rest }) => rest).join("\n")
    expect(made).toContain(options.fuseDir)
    expect(wordsOf(all, "VOLUME")).toEqual([options.dataDir])
    expect(made).toContain(String(options.httpAddr.port))
  })
})

test("the image of nothing has nothing but what LiteFS needs", () => {
  const all = instructions("Dockerfile")
  const last = all.slice(all.findLastIndex(({ word }) => word === "FROM"))
  expect(last[0]?.rest).toBe("scratch")
  expect(last.filter(({ word }) => word === "RUN")).toEqual([])
  expect(last.filter(({ word }) => word === "COPY")).toHaveLength(1)
})

function expectSource(path: string): void {
  if (!path.startsWith(RELEASE)) expect(existsSync(join(ROOT, path))).toBe(true)
}

interface Service {
  readonly build: { readonly context: string; readonly dockerfile: string }
  readonly command: string[]
  readonly devices: string[]
  readonly cap_add: string[]
  readonly volumes: string[]
}

describe("compose.yaml", () => {
  const file = parseYaml(readFileSync(join(DIRECTORY, "compose.yaml"), "utf8")) as {
    services: Record<string, Service>
    volumes: Record<string, unknown>
  }

  test("has three nodes that know each other, of which one is the primary, behind proxies", () => {
    const names = Object.keys(file.services)
    expect(names).toEqual(["one", "two", "three"])
    let primaries = 0
    for (const [name, service] of Object.entries(file.services)) {
      const { dockerfile, context } = service.build
      expect(existsSync(join(DIRECTORY, context, dockerfile))).toBe(true)
      const entry = wordsOf(instructions(basename(dockerfile)), "ENTRYPOINT").slice(2)
      const { options, command } = checkMount([...entry, ...service.command])
      expect(command?.length).toBeGreaterThan(0)
      expect(options.proxy).toBeDefined()
      expect(options.advertiseUrl).toBe(`http://${name}:20202`)
      const others = names.filter((each) => each !== name).map((each) => `http://${each}:20202`)
      expect(JSON.stringify(options)).toContain(others[0] as string)
      expect(service.command.filter((word) => word.startsWith("--peer="))).toEqual(
        others.map((url) => `--peer=${url}`),
      )
      if (options.role.kind === "primary") primaries++
      expect(service.devices).toContain("/dev/fuse")
      expect(service.cap_add).toContain("SYS_ADMIN")
      for (const volume of service.volumes) {
        const [source = "", target] = volume.split(":")
        expect(Object.keys(file.volumes)).toContain(source)
        expect(target).toBe(options.dataDir)
      }
    }
    expect(primaries).toBe(1)
  })
})

describe("litefs.service", () => {
  const text = readFileSync(join(DIRECTORY, "litefs.service"), "utf8")
  const values = (key: string) =>
    [...text.matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].map(([, value = ""]) => value)

  test("starts a node with flags that there are, where its directories are made", () => {
    const [program, command, ...flags] = (values("ExecStart")[0] ?? "").split(" ")
    expect([program, command]).toEqual(["/usr/local/bin/litefs", "mount"])
    const { options } = checkMount(flags, { LITEFS_PRIMARY_URL: "http://10.0.0.1:20202" })
    // litefs mount makes the mount directory itself, and mends one that a dead mount is on: mkdir would fail there.
    expect(values("ExecStartPre")).toEqual([])
    expect(options.fuseDir).toBe("/litefs")
    expect(values("StateDirectory").map((name) => `/var/lib/${name}`)).toEqual([options.dataDir])
  })

  test("gives it more time to stop than it gives the application", () => {
    const seconds = Number(/--stop-timeout (\d+)s/.exec(text)?.[1])
    expect(seconds).toBeGreaterThan(0)
    expect(Number(values("TimeoutStopSec")[0])).toBeGreaterThan(seconds)
  })

  test("names only variables that there are", () => {
    const variables = [...text.matchAll(/LITEFS_[A-Z_]+/g)].map(([name]) => name)
    const known = Object.keys(MOUNT_SYNTAX.flags).map(
      (name) => `LITEFS_${name.toUpperCase().replaceAll("-", "_")}`,
    )
    expect(variables.filter((name) => !known.includes(name))).toEqual([])
    expect(variables.length).toBeGreaterThan(1)
  })
})
