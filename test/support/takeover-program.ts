/**
 * A replica's database in a process of its own, which takes snapshots: `takeover-program.ts DATA_DIR LTX_FILE…`.
 * LITEFS_FAULTS ends it wherever a test wants. After each it says how long the trace is.
 */
import { readFileSync } from "node:fs"
import { systemClock } from "../../src/lib/clock.ts"
import { ReplicaDatabase } from "../../src/peer/receive/replica-database.ts"
import { recoverDatabase } from "../../src/recovery/recover.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { directLog } from "../../src/store/log/commit-log.ts"
import { trace } from "../../src/sys/trace.ts"
import { idleApplier } from "./idle-applier.ts"
import { RecordedLog } from "./recorded-log.ts"

const [root = "", ...ltxFiles] = process.argv.slice(2)
const dataDir = new DataDir(root)
const log = new RecordedLog().logger
dataDir.create()
dataDir.createDatabase("app.db")
const state = recoverDatabase("app.db", dataDir, log)
const database = new ReplicaDatabase(
  "app.db",
  {
    dataDir,
    clock: systemClock,
    transactions: directLog,
    acknowledges: () => false,
    log,
    makeApplier: () => idleApplier,
    switchFiles: async (files) => {
      files.decide()
      files.change()
      files.switched()
    },
    primaryName: () => undefined,
    setPosition: () => {},
    stored: () => {},
    completed: () => {},
    dropped: () => {},
  },
  state,
)
for (const ltxFile of ltxFiles) {
  const incoming = database.receive()
  const bytes = readFileSync(ltxFile)
  for (let at = 0; at < bytes.length; at += 1000) incoming.push(bytes.subarray(at, at + 1000))
  incoming.finish()
  await database.accept(incoming)
  console.log(trace?.position ?? 0)
}
