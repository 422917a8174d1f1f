/** The command line of a soak (test/torture/soak.ts). Run it through `scripts/soak`. */
import { tmpdir } from "node:os"
import { parseArgs } from "node:util"
import { soak } from "../test/torture/soak.ts"

const { values } = parseArgs({ options: { minutes: { type: "string", default: "60" } } })
const minutes = Number(values.minutes)
if (!(minutes > 0)) {
  console.error(`ERROR: Cannot soak: --minutes takes a number above 0, not "${values.minutes}"`)
  process.exit(2)
}
const { passed, failures } = await soak({ minutes, scratch: tmpdir(), say: console.log })
for (const failure of failures) console.log(`FAILED: ${failure}`)
console.log(`${passed} passed, ${failures.length} failed`)
process.exit(failures.length > 0 ? 1 : 0)
