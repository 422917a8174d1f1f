// Prints the position that a replica shows of main.db whenever that is another, with the size of the daemon's
// trace after it was seen: JSON {at, database, txid, checksum}. Until it is killed. Argument: JSON {directory, trace}.
import { readFileSync, statSync, writeSync } from "node:fs"
import { join } from "node:path"

const { directory, trace } = JSON.parse(process.argv[2])
const path = join(directory, "main.db-pos")
const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
let before = ""

for (;;) {
  sleep(2)
  let text
  try {
    text = readFileSync(path, "utf8")
  } catch {
    continue // not there yet
  }
  if (text === before) continue
  before = text
  const [txid, checksum] = text.trim().split("/")
  const line = { at: statSync(trace).size, database: "main.db", txid, checksum }
  writeSync(1, `${JSON.stringify(line)}\n`)
}
