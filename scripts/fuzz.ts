/** Feeds parsers with changed input. Run it through `scripts/fuzz`. */
import { parseArgs } from "node:util"
import { CANARIES } from "../test/fuzz/canaries.ts"
import { type Failure, Fuzzer, failureText } from "../test/fuzz/fuzzer.ts"
import { PARSERS, TARGETS } from "../test/fuzz/registry.ts"

const CANARY_MS = 20_000

const { targets, seconds, seed } = readOptions()
console.log(`seed ${seed}, ${targets.length} targets, ${seconds} s`)
await using fuzzer = new Fuzzer()

for (const { name } of CANARIES) {
  if (targets.includes(name)) continue
  const { failure } = await fuzzer.fuzz(name, { seed, forMs: CANARY_MS })
  if (failure === undefined) {
    console.log(`FAILED: nothing was found in ${name}: this fuzzer finds nothing`)
    process.exit(1)
  }
}

const failures: Failure[] = []
let total = 0
for (const target of targets) {
  const { count, failure } = await fuzzer.fuzz(target, {
    seed,
    forMs: (seconds * 1000) / targets.length,
  })
  total += count
  console.log(`${target.padEnd(20)} ${String(count).padStart(9)} inputs`)
  if (failure === undefined) continue
  failures.push(failure)
  console.log(failureText(failure))
}
console.log(`${total} inputs, ${failures.length} failures`)
process.exit(failures.length > 0 ? 1 : 0)

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        seconds: { type: "string", default: "60" },
        only: { type: "string", multiple: true, default: [] },
        seed: { type: "string", default: String(Date.now() >>> 0) },
      },
    })
    const [seconds, seed] = [Number(values.seconds), Number(values.seed)]
    if (!(seconds > 0)) {
      throw new RangeError(`Cannot use --seconds ${values.seconds}: it is no number above 0`)
    }
    if (!Number.isInteger(seed)) {
      throw new RangeError(`Cannot use --seed ${values.seed}: it is no whole number`)
    }
    const names = TARGETS.map(({ name }) => name)
    for (const name of values.only) {
      if (names.includes(name)) continue
      throw new RangeError(`Cannot fuzz ${name}: there are ${names.join(", ")}`)
    }
    const all = PARSERS.map(({ name }) => name)
    return { targets: values.only.length > 0 ? values.only : all, seconds, seed }
  } catch (error) {
    console.error(`ERROR: ${(error as Error).message}`)
    process.exit(2)
  }
}
