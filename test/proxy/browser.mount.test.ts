/** The demo's application on three nodes, in a browser that only knows the proxy of a replica. */
import { expect, test } from "bun:test"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { canMount, freePort, Scope, type TestNode } from "../support/node.ts"

const ROOT = resolve(import.meta.dir, "../..")
const VISIT = join(ROOT, "test/support/browser-visit.mjs")
const LIMIT_MS = 150_000
const NOTES = 6

const hasChromium = existsSync("/usr/bin/chromium")
if (!hasChromium)
  console.warn("left out: there is no /usr/bin/chromium, the Debian package is chromium")

/** A node with the application beside it, and the address of its proxy. */
async function deploy(scope: Scope, follows?: TestNode): Promise<{ node: TestNode; url: string }> {
  const [proxyPort, appPort] = [await freePort(), await freePort()]
  const directory = join(scope.directory, `node-${proxyPort}`)
  mkdirSync(join(directory, "mnt"), { recursive: true })
  const node = await scope.spawn({
    ...{ directory, ...(follows && { follows }) },
    flags: [
      ...["--proxy-addr", `127.0.0.1:${proxyPort}`, "--proxy-target", `:${appPort}`],
      ...["--proxy-db", "notes.db"],
    ],
    env: { PORT: String(appPort), DATABASE: join(directory, "mnt/notes.db") },
    command: ["node", join(ROOT, "scripts/demo-app/server.mjs")],
  })
  await node.logged(/notes at/)
  return { node, url: `http://127.0.0.1:${proxyPort}` }
}

/** What the browser saw, by step. */
async function visit(scope: Scope, options: object): Promise<Record<string, unknown>> {
  const child = spawn("node", [VISIT, JSON.stringify(options)], {
    stdio: ["ignore", "pipe", "inherit"],
  })
  scope.defer(() => void child.kill("SIGKILL"))
  const timer = setTimeout(() => child.kill("SIGTERM"), LIMIT_MS)
  let out = ""
  child.stdout.on("data", (text) => {
    out += text
  })
  await once(child, "close")
  clearTimeout(timer)
  const steps = out.split("\n").filter(Boolean)
  return Object.fromEntries(steps.map((line) => Object.values(JSON.parse(line))))
}

test.skipIf(!canMount || !hasChromium)(
  "whoever clicks through the application behind a replica sees all that they did on the next page",
  async () => {
    await using scope = new Scope()
    const primary = await deploy(scope)
    const replica = await deploy(scope, primary.node)
    const other = await deploy(scope, primary.node)
    const file = join(scope.directory, "ada’s file.bin")
    writeFileSync(file, Buffer.alloc(3_000_000, crypto.getRandomValues(new Uint8Array(1009))))
    const seen = await visit(scope, {
      ...{ url: replica.url, otherUrl: other.url, file, notes: NOTES },
      profile: join(scope.directory, "browser"),
      screenshot: process.env.LITEFS_SCREENSHOT,
    })
    expect(seen).toEqual({
      heading: "Notes on a replica",
      "signed in": ["Hello, Ada"],
      "notes that were not on the next page": [],
      events: Array.from({ length: NOTES }, (_, index) => `Ada: note ${index + 1}`),
      upload: ["ada’s file.bin", true, true],
      heard: ["heard “one”", "heard “two”"],
      "on another node": ["Notes on a replica", ["Hello, Ada"], NOTES],
      "signed out": [1, []],
      problems: [],
    })
  },
  LIMIT_MS + 60_000,
)
