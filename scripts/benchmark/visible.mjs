/**
 * One of two processes that share a table: one commits, the other sees it.
 *
 *     node visible.mjs writes PATH COUNT SYNCHRONOUS
 *     node visible.mjs spins|sleeps|listens PATH COUNT [URL]
 *
 *     "ready" ─▶ a line on stdin ─▶ {"times": ns of each commit, as text, "cpuMs"} ─▶ the end of stdin
 *
 * `spins` asks SQLite again and again, `sleeps` does so every half millisecond, `listens` when a line of GET /events
 * says so. The clock is CLOCK_MONOTONIC, which is one for the machine. The writer pauses between commits, so that each is
 * waited for by itself.
 */
import { get } from "node:http"
import { createInterface } from "node:readline"
import Database from "better-sqlite3"

const PAUSE_MS = 4
const SLEEP_MS = 0.5

const [role, path, countText, last] = process.argv.slice(2)
const count = Number(countText)
const db = new Database(path, { timeout: 20_000 })
const times = []
const cell = new Int32Array(new SharedArrayBuffer(4))
const sleep = (ms) => Atomics.wait(cell, 0, 0, ms)

const newest = role === "writes" ? undefined : db.prepare("select max(id) from t").pluck()
function look() {
  const seen = newest.get() ?? 0
  const now = String(process.hrtime.bigint())
  while (times.length < seen) times.push(now)
}

const ROLES = {
  writes() {
    db.pragma(`synchronous=${last}`)
    const insert = db.prepare("insert into t(v) values(randomblob(100))")
    while (times.length < count) {
      sleep(PAUSE_MS)
      insert.run()
      times.push(String(process.hrtime.bigint()))
    }
  },

  spins() {
    while (times.length < count) look()
  },

  sleeps() {
    while (times.length < count) {
      look()
      sleep(SLEEP_MS)
    }
  },

  async listens() {
    for await (const _ of events) {
      look()
      if (times.length >= count) return
    }
  },
}

const events = role === "listens" ? await new Promise((begun) => get(`${last}/events`, begun)) : []
createInterface({ input: process.stdin })
  .once("line", async () => {
    const start = process.cpuUsage()
    await ROLES[role]()
    const { user, system } = process.cpuUsage(start)
    console.log(JSON.stringify({ times, cpuMs: (user + system) / 1000 }))
  })
  .once("close", () => process.exit())
newest?.get()
console.log("ready")
