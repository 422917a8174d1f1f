/** The command line of a soak (test/torture/soak.ts). Run it through `scripts/soak`. */
import { tmpdir } from "node:os"
import { parseArgs } from "node:util"
import { soak } from "../test/torture/soak.ts"

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "60" },
    pause: { type: "string", default: "2" }, // seconds between operations
  },
})
const [minutes, pause] = [numberOf("minutes"), numberOf("pause")]
const pauseMs = pause * 1000
const { passed, failures } = await soak({ minutes, pauseMs, scratch: tmpdir(), say: console.log })
for (const failure of failures) console.log(`FAILED: ${failure}`)
console.log(`${passed} passed, ${failures.length} failed`)
process.exit(failures.length > 0 ? 1 : 0)

function numberOf(name: "minutes" | "pause"): number {
  const number = Number(values[name])
  if (number > 0) return number
  console.error(`ERROR: Cannot soak: --${name} takes a number above 0, not "${values[name]}"`)
  process.exit(2)
}
