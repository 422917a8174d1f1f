/** What stands in README and docs/recipes.md runs, as it stands there. */
import { test as anyTest, describe, expect } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { ROUTES, type RouteForm } from "../src/http/server/routes.ts"
import { hasMachines, type Machine, machines } from "./support/machines.ts"
import { Scope } from "./support/node.ts"
import { type Block, sectionsOf } from "./support/pages.ts"
import { until } from "./support/until.ts"

const test = anyTest.skipIf(!hasMachines)

const ROOT = join(import.meta.dirname, "..")
const ALL = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]

/** The programs that the text takes for granted. */
const SERVER = `require("http").createServer((request, response) => {
  const { status, stdout, stderr } = require("child_process").spawnSync("litefs", ["sql", "--json", "app.db", "SELECT name FROM users"])
  response.writeHead(status === 0 ? 200 : 500).end(status === 0 ? stdout : stderr)
}).listen(3000)`
const NPM =
  "#!/bin/sh\nexec litefs sql --create app.db 'CREATE TABLE IF NOT EXISTS migrated (at TEXT)'\n"
const USER = `sqlite3 old.db "PRAGMA journal_mode = wal; CREATE TABLE users (name TEXT); INSERT INTO users VALUES ('ada')"`

interface Recipe {
  readonly addresses?: readonly string[]
  prepare?(all: Machine[]): Promise<void>
  /** Before the block with this index. */
  readonly before?: Readonly<Record<number, (all: Machine[]) => Promise<void>>>
  readonly env?: Record<string, string>
  check(all: Machine[], printed: readonly string[]): Promise<void>
}

async function ok(machine: Machine, script: string): Promise<string> {
  const { code, out, err } = await machine.run(script)
  if (code !== 0)
    throw new Error(`${machine.address}: ${script}: ${code}\n${out}${err}\n${machine.said}`)
  return out
}

const users = (machine: Machine, db = "app.db") =>
  ok(machine, `litefs sql --raw ${db} 'SELECT name FROM users'`)

const RECIPES: Readonly<Record<string, Recipe>> = {
  "Two machines": {
    async check(_, printed) {
      expect(printed.at(-1)).toContain("ada")
    },
  },
  "Three nodes, any of which can be the primary": {
    addresses: ALL,
    async check([one, two, three]) {
      const info = (machine: Machine) =>
        ok(machine, "litefs info --json --auth-token-file /etc/litefs.token")
      expect(await info(two as Machine)).toMatch(/"isPrimary": true/)
      expect(await info(one as Machine)).toMatch(/"isPrimary": false/)
      const { code } = await (three as Machine).run("litefs info")
      expect(code).toBe(1) // without the token
      await ok(
        two as Machine,
        "litefs sql --create app.db \"CREATE TABLE users (name); INSERT INTO users VALUES ('ada')\"",
      )
      await until(
        "the third node serves it",
        async () => {
          const { out } = await (three as Machine).run("curl -s http://127.0.0.1:8080/")
          return out.includes("ada")
        },
        { everyMs: 200 },
      )
    },
  },
  "An entrypoint script": {
    async check([one]) {
      expect(await ok(one as Machine, "litefs info")).toContain("primary")
      await until("server.js serves", async () => {
        return (await (one as Machine).run("curl -s http://127.0.0.1:3000/")).code === 0
      })
    },
  },
  "Migrate on deploy": {
    async check([one]) {
      expect(
        await ok(
          one as Machine,
          "litefs sql app.db .schema 2>&1 || litefs sql --raw app.db 'SELECT name FROM sqlite_schema'",
        ),
      ).toContain("migrated")
    },
  },
  "Bring an existing database": {
    async prepare([one]) {
      await ok(one as Machine, `mkdir /srv/old; cd /srv/old; ${USER.replace("old.db", "app.db")}`)
    },
    async check([one]) {
      for (const db of ["app.db", "new.db", "small.db"]) {
        expect(await users(one as Machine, db)).toBe("ada\n")
      }
    },
  },
  "Move over from the original": {
    async prepare([one]) {
      // A database file without LTX files is taken into the history, as one of an old version of the original.
      await ok(
        one as Machine,
        `mkdir -p /var/lib/litefs/dbs/app.db; ${USER.replace("old.db", "/var/lib/litefs/dbs/app.db/database")}`,
      )
    },
    async check([one]) {
      expect(await users(one as Machine)).toBe("ada\n")
    },
  },
  "And back to the original": {
    async check([one], printed) {
      expect(printed.at(-1)).toContain("app.db")
      const found = await ok(one as Machine, "cd /var/lib/litefs/dbs/app.db; ls; ls ltx")
      expect(found).toMatch(/database\nltx\nsynced\n[0-9a-f]{16}-[0-9a-f]{16}\.ltx\n/)
      expect(
        await ok(one as Machine, "sqlite3 /var/lib/litefs/dbs/app.db/database .schema"),
      ).toContain("users")
    },
  },
  "Under another user": {
    async check(_, printed) {
      expect(printed.at(-1)).toBe("app 750\napp\n")
    },
  },
  "Backups with what is there": {
    async check([one]) {
      for (const db of ["app.db", "copy.db"]) {
        expect(await users(one as Machine, db)).toBe("ada\n")
      }
      for (const db of ["/tmp/three.db", "/tmp/then.db"]) {
        expect(await users(one as Machine, db)).toBe("ada\ngrace\n")
      }
    },
  },
  "A lease in etcd or Consul": {
    addresses: ["10.0.0.1", "10.0.0.2", "10.0.0.7"],
    async prepare([, , store]) {
      const url = "http://10.0.0.7:2379"
      store?.start(
        `exec etcd --data-dir /tmp/etcd --listen-client-urls ${url} --advertise-client-urls ${url}`,
      )
    },
    before: {
      2: async ([one, two]) => {
        await ok(one as Machine, "litefs sql --create app.db 'CREATE TABLE users (name TEXT)'")
        await ok(two as Machine, "litefs wait --db app.db --timeout 30s")
        await one?.end()
      },
    },
    async check([, two], printed) {
      expect(printed.at(-1)).toMatch(/role +primary/)
      await ok(two as Machine, "litefs sql app.db \"INSERT INTO users VALUES ('ada')\"")
    },
  },
  "Lose no write with the primary": {
    async check([one, two], printed) {
      expect(printed.at(-1)).toMatch(/sync +synchronous/)
      await one?.end()
      await ok(two as Machine, "litefs promote --force")
      expect(await users(two as Machine)).toBe("ada\n")
    },
  },
  "Encrypt it": {
    async check([one], printed) {
      expect(printed.at(-1)).toContain("primary")
      expect((await (one as Machine).run("curl -sk https://127.0.0.1:20202/info")).code).not.toBe(0)
    },
  },
}

/** Run in another way below, or by another test. */
const OTHERS = ["An image from scratch", "Health probes"]

/** How a program of docs/operations.md writes, where that can be tried: it says what it is told. */
const WRITES: Readonly<Record<string, string>> = {
  sqlite3: `sqlite3 /litefs/app.db "INSERT INTO users VALUES ('eve')"`,
  "Python `sqlite3`": `python3 -c '
import sqlite3
try:
    connection = sqlite3.connect("/litefs/app.db")
    connection.execute("INSERT INTO users VALUES (1)")
    connection.commit()
except Exception as error:
    print(type(error).__module__ + "." + type(error).__name__ + ":", error)'`,
  "better-sqlite3": `node -e '
try { new (require("${ROOT}/node_modules/better-sqlite3"))("/litefs/app.db").exec("INSERT INTO users VALUES (1)") }
catch (error) { console.log(error.constructor.name + ": " + error.message, "code", error.code) }'`,
  Bun: `${process.execPath} -e '
try { new (require("bun:sqlite").Database)("/litefs/app.db").run("INSERT INTO users VALUES (1)") }
catch (error) { console.log(error.name + ": " + error.message, "code", error.code) }'`,
}

describe("docs/reference.md", () => {
  test("has the routes that a node serves", async () => {
    await using scope = new Scope()
    const node = await scope.node()
    const methods = new Map<string, string[]>()
    for (const [name, { hasHead }] of Object.entries<RouteForm>(ROUTES)) {
      const [method = "", path = ""] = name.split(" ")
      methods.set(path, [...(methods.get(path) ?? []), method, ...(hasHead ? ["HEAD"] : [])])
    }
    methods.delete("/") // for browsers
    for (const [path, allowed] of methods) {
      const { status, headers } = await fetch(new URL(path, node.url), { method: "OPTIONS" })
      expect([path, status, headers.get("Allow")]).toEqual([path, 405, allowed.join(", ")])
    }
  }, 60_000)
})

describe("docs/operations.md", () => {
  test("says what a write on a replica looks like", async () => {
    await using scope = new Scope()
    const [one, two, three] = (await machines(scope, ...ALL)) as [Machine, Machine, Machine]
    const follow = "litefs mount --primary-url http://10.0.0.1:20202 --http-addr :20202"
    for (const [machine, text] of [
      [one, "litefs mount --primary --http-addr :20202"],
      [two, follow],
      [three, `${follow} --candidate`],
    ] as const) {
      await runBlock(
        [machine],
        machine,
        { text, language: "sh", on: undefined, file: undefined },
        {},
      )
    }
    await ok(
      one,
      "litefs sql --create app.db 'PRAGMA journal_mode = wal; CREATE TABLE users (name TEXT)'",
    )
    const page = readFileSync(join(ROOT, "docs/operations.md"), "utf8")
    for (const [name, script] of Object.entries(WRITES)) {
      const cells =
        page
          .split("\n")
          .find((line) => line.startsWith(`| ${name} |`))
          ?.split(" | ") ?? []
      for (const [index, machine] of [two, three].entries()) {
        await ok(machine, "litefs wait --db app.db")
        const { out, err } = await machine.run(script)
        const wanted = cells[index + 1]?.match(/`[^`]+`/g)?.map((quote) => quote.slice(1, -1)) ?? []
        expect(wanted.length).toBeGreaterThan(0)
        for (const text of wanted) expect(out + err).toContain(text)
      }
    }
  }, 120_000)
})

/** A block that goes on until it is stopped; what follows it needs the node. */
const MOUNTS = /^(exec )?litefs mount|^sh \/entrypoint\.sh/m

async function runBlock(
  all: Machine[],
  machine: Machine,
  block: Block,
  env: Record<string, string>,
): Promise<string> {
  if (!MOUNTS.test(block.text)) {
    return await ok(machine, block.text)
  }
  const child = machine.start(block.text, env)
  const ready = machine.run(
    "litefs wait --synced --timeout 30s --url unix:/var/lib/litefs/api.sock",
  )
  const { code, err } = await ready
  if (code !== 0 || child.exitCode !== null) {
    throw new Error(
      `${machine.address}: ${block.text}: ${err}${all.map(({ said }) => said).join("\n--\n")}`,
    )
  }
  return ""
}

/** `$ one=…` of an earlier block is there in the next: they are pasted into one shell. */
function pasted(page: string, ...titles: string[]): string {
  const blocks = sectionsOf(page).filter(({ title }) => titles.includes(title))
  return blocks.flatMap(({ blocks: all }) => all.map(({ text }) => text)).join("\n")
}

describe("README.md", () => {
  test("two nodes, and when one stops", async () => {
    await using scope = new Scope()
    const [one] = (await machines(scope, "10.0.0.1")) as [Machine]
    const text = pasted("README.md", "Two nodes in two commands", "When one stops")
    const { code, out, err } = await one.run(text)
    expect({ code, out, err: code === 0 ? "" : err }).toMatchObject({ code: 0 })
    expect(out).toMatch(/^text\n-+\nhello\nnode /m)
    expect(out).toContain("hello\nwritten on the other one\n")
    expect(out).toMatch(/primary/)
    await ok(one, "test ! -e /tmp/one && test ! -e /tmp/two")
  }, 120_000)

  test("install", async () => {
    await using scope = new Scope()
    const [one] = (await machines(scope, "10.0.0.1")) as [Machine]
    const text = pasted("README.md", "Install")
      .split("\n")
      .find((line) => line.includes("dist/litefs"))
    await ok(one, `rm /usr/local/bin/litefs; cd ${ROOT}; ${text?.replace("scripts/build && ", "")}`)
    expect(await ok(one, "/usr/local/bin/litefs version")).toStartWith("litefs ")
  })
})

describe("docs/recipes.md", () => {
  test("An image from scratch", async () => {
    await using scope = new Scope()
    const [one] = (await machines(scope, "10.0.0.1")) as [Machine]
    const { blocks } = sectionsOf("docs/recipes.md").find(({ title }) => title === OTHERS[0]) ?? {
      blocks: [],
    }
    const lines =
      blocks
        .map(({ text }) => text)
        .find((text) => text.startsWith("FROM scratch"))
        ?.split("\n") ?? []
    const directories = lines.flatMap((line) => /^WORKDIR (.*)/.exec(line)?.[1] ?? [])
    const files = lines.flatMap((line) => /^COPY \S+ (.*)/.exec(line)?.[1] ?? [])
    const words = JSON.parse(/^ENTRYPOINT (.*)/m.exec(lines.join("\n"))?.[1] ?? "") as string[]
    expect([directories.length, files.length, words.length]).toEqual([3, 2, 5])
    expect(directories.at(-1)).toBe("/") // where the application starts
    // The application of this image is a static program that says what it is and ends with 2.
    const { code, err } =
      await one.run(`mkdir -p /image/{proc,dev,bin}; cd /image; mount -t proc proc proc
mkdir -p ${directories.map((each) => `.${each}`).join(" ")}; touch dev/fuse dev/null
mount --bind /dev/fuse dev/fuse; mount --bind /dev/null dev/null
for file in ${files.join(" ")}; do cp /usr/local/bin/litefs .$file; done
chroot . ${words.join(" ")}`)
    expect(err).toContain("mounted")
    expect(err).toContain("LiteFS replicates SQLite databases")
    expect(code).toBe(2)
  }, 120_000)

  const sections = sectionsOf("docs/recipes.md")

  anyTest("every recipe is tested", () => {
    const titles = sections.map(({ title }) => title).filter((title) => !OTHERS.includes(title))
    expect(titles).toEqual(Object.keys(RECIPES))
  })

  for (const { title, blocks } of sections) {
    const recipe = RECIPES[title]
    if (recipe === undefined) continue
    test(title, async () => {
      await using scope = new Scope()
      const all = await machines(scope, ...(recipe.addresses ?? ALL.slice(0, 2)))
      for (const machine of all) {
        machine.write("/srv/app/server.js", SERVER)
        machine.write("/usr/local/bin/npm", NPM, 0o755)
      }
      await recipe.prepare?.(all)
      let [current] = all as [Machine]
      const printed: string[] = []
      for (const [index, block] of blocks.entries()) {
        await recipe.before?.[index]?.(all)
        const here =
          block.on === "every machine" ? all : all.filter(({ address }) => address === block.on)
        current = here[0] ?? current
        for (const machine of here.length > 0 ? here : [current]) {
          if (block.file !== undefined) machine.write(block.file, block.text)
          else printed.push(await runBlock(all, machine, block, recipe.env ?? {}))
        }
      }
      await recipe.check(all, printed)
    }, 120_000)
  }
})
