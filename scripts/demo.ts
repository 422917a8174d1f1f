/**
 * The demo: what LiteFS does, step by step, with a real web application. Run it through
 * `scripts/demo`.
 *
 * 1. Whatever happens, what was started is stopped and what was mounted is unmounted.
 * 2. With --once the exit code is 0 only if the replica served what was written on the primary.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { DemoNode, eventually } from "./demo-node.ts"

process.chdir(resolve(import.meta.dirname, ".."))
const once = process.argv.includes("--once")

const dir = mkdtempSync(join(tmpdir(), "litefs-demo-"))
const nodes: DemoNode[] = []
const interrupted = Promise.withResolvers<"interrupted">()
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => interrupted.resolve("interrupted"))
}

let failed = false
try {
  const end = await Promise.race([showSteps(), interrupted.promise])
  if (end === "interrupted" && once) failed = true
  if (end === "shown" && !once) await keepRunning()
} catch (error) {
  failed = true
  console.error(`\nERROR: ${error instanceof Error ? error.message : error}`)
  for (const node of nodes) console.error(`\n--- log of the ${node.name} ---\n${node.log}`)
} finally {
  await cleanUp()
}
process.exit(failed ? 1 : 0)

async function showSteps(): Promise<"shown"> {
  step("Start a primary, and the application in its mount")
  const primary = await startNode("primary")

  step("Start a replica of it, with the same application")
  const replica = await startNode("replica", primary)

  step("Write a note on the primary")
  const note = `Written on the primary at ${new Date().toISOString()}`
  const { status } = await primary.post(note)
  if (status !== 303) throw new Error(`Cannot write on the primary: it answered ${status}`)
  show(`POST ${primary.appUrl}/notes`, note)

  step("Both nodes get to the same position: transaction and checksum of the whole database")
  await eventually("the replica is where the primary is", () => {
    return primary.position() === replica.position()
  })
  for (const node of [primary, replica]) show(`cat ${node.databasePath}-pos`, node.position())

  step("Read it on the replica, from the replica's own mount")
  await eventually("the replica's page shows the note", async () => {
    return (await replica.page()).includes(note)
  })
  show(`GET ${replica.appUrl}/`, `… ${note} …`)

  step("Every transaction is a file, on every node")
  for (const node of [primary, replica]) {
    show(`ls ${node.dataDir}/dbs/notes.db/ltx`, node.ltxFiles().join("\n"))
  }

  step("A replica does not take writes, it knows who does")
  const answer = await replica.post("Written on the replica")
  if (answer.status !== 409 || !(await answer.text()).includes(primary.appUrl)) {
    throw new Error(`Cannot show the primary: the replica answered ${answer.status}`)
  }
  show(`POST ${replica.appUrl}/notes`, `409: notes are added on ${primary.appUrl}`)

  step(
    "Through the replica's proxy it does, and the next page has it: the cookie says what to wait for",
  )
  for (let count = 1; count <= 20; count++) {
    const text = `Written through the replica, ${count} of 20`
    const written = await replica.post(text, replica.proxyUrl)
    const cookie = written.headers.get("set-cookie")?.split(";")[0]
    if (written.status !== 303 || cookie === undefined) {
      throw new Error(`Cannot write through the proxy: it answered ${written.status}`)
    }
    const page = await replica.pageOf(cookie)
    if (!page.includes(text) || !page.includes("Notes on a replica")) {
      throw new Error(`Cannot read what was written: "${text}" is not on the replica's page`)
    }
    if (count === 20) {
      show(`POST ${replica.proxyUrl}/notes`, `303, Set-Cookie: ${cookie}`)
      show(`GET ${replica.proxyUrl}/`, `… ${text} …`)
    }
  }

  step("A script on the replica writes, too: it borrows the primary's write lock")
  const edited = "edited by a script on the replica"
  const sql = `UPDATE notes SET text = '${edited}' WHERE id = 1`
  show(replica.runSql(sql))
  if (!(await primary.page()).includes(edited)) {
    throw new Error(
      "Cannot write with the lock: the primary's page does not show what the script wrote",
    )
  }
  show(`GET ${primary.appUrl}/`, `… ${edited} …`)
  return "shown"
}

async function startNode(name: string, primary?: DemoNode): Promise<DemoNode> {
  const node = await DemoNode.start({ name, dir, ...(primary === undefined ? {} : { primary }) })
  nodes.push(node)
  show(node.commandLine.join(" "))
  await node.appReady()
  show(`GET ${node.appUrl}/`, "200")
  return node
}

/** Until Ctrl-C, or until a node ends by itself, which is a failure. */
async function keepRunning(): Promise<void> {
  console.log("\nThe nodes keep running until Ctrl-C. Add notes on any, look at both:\n")
  for (const { name, proxyUrl, fuseDir, logPath } of nodes) {
    console.log(`  ${name.padEnd(8)} ${proxyUrl}   mount ${fuseDir}   log ${logPath}`)
  }
  for (;;) {
    if ((await Promise.race([interrupted.promise, Bun.sleep(500)])) === "interrupted") return
    for (const { name, exit } of nodes) {
      if (exit !== undefined) throw new Error(`Cannot go on: the ${name} ended with ${exit}`)
    }
  }
}

/** Replicas first, so that they do not look for a primary that has gone. */
async function cleanUp(): Promise<void> {
  console.log("\nstopping the nodes")
  for (const node of nodes.toReversed()) {
    try {
      await node.stop()
    } catch (error) {
      failed = true
      console.error(`ERROR: Cannot stop the ${node.name} cleanly: ${error}`)
    }
  }
  // Deleting must not reach through a mount that is still there into its databases.
  if (readFileSync("/proc/self/mountinfo", "utf8").includes(` ${dir}/`)) {
    console.error(`ERROR: Cannot delete ${dir}: something is still mounted in it`)
    failed = true
  } else {
    rmSync(dir, { recursive: true })
  }
}

function step(text: string): void {
  console.log(`\n== ${text}`)
}

function show(command: string, output?: string): void {
  console.log(`  $ ${command}`)
  if (output !== undefined) console.log(output.replace(/^/gm, "    "))
}
