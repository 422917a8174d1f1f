/** Many seeds of test/simulation, over several processes. Run it through `scripts/simulate`, which has the help. */
import { parseArgs } from "node:util"
import { CANARIES, isCanary } from "../test/simulation/canaries.ts"
import { type Outcome, simulate } from "../test/simulation/simulation.ts"

const SEEDS = 1000
const FAILURES_MAX = 20
/** One process runs so many. */
const PART_SEEDS = 250

function refuse(problem: string): never {
  console.error(`ERROR: ${problem}`)
  process.exit(2)
}

function flags() {
  try {
    return parseArgs({
      options: {
        seeds: { type: "string" },
        seed: { type: "string" },
        nodes: { type: "string" },
        jobs: { type: "string" },
        seconds: { type: "string" },
        canary: { type: "string" },
        trace: { type: "boolean" },
        part: { type: "boolean" }, // told as JSON
      },
    }).values
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error))
  }
}

function numberOf(name: string, text: string, least: number, most: number): number {
  const number = Number(text)
  if (Number.isInteger(number) && number >= least && number <= most) return number
  return refuse(`Cannot use --${name} ${text}: a whole number from ${least} to ${most} expected`)
}

const values = flags()
const { canary, trace = false } = values
if (canary !== undefined && !isCanary(canary)) {
  refuse(`Cannot use --canary ${canary}: one of ${Object.keys(CANARIES).join(", ")} expected`)
}
const first = values.seed === undefined ? 1 : numberOf("seed", values.seed, 0, 2 ** 32 - 1)
const isOne = values.seed !== undefined && values.seeds === undefined
const count = isOne ? 1 : numberOf("seeds", values.seeds ?? String(SEEDS), 1, 2 ** 31)
const jobs = isOne ? 1 : numberOf("jobs", values.jobs ?? "2", 1, 64)
const seconds =
  values.seconds === undefined ? 2 ** 31 : numberOf("seconds", values.seconds, 1, 2 ** 31)
const nodes = values.nodes === undefined ? undefined : numberOf("nodes", values.nodes, 3, 5)
const startMs = Date.now()

function isLate(): boolean {
  return Date.now() - startMs > seconds * 1000
}

const kept = { canary, ...(nodes === undefined ? {} : { nodes }) }
let next = first
if (values.part === true) runPart()
else process.exit(await runAll())

/** A process of several. */
function runPart(): void {
  for (let seed = first; seed < first + count; seed++) {
    process.stdout.write(`${JSON.stringify(simulate({ seed, ...kept }))}\n`)
  }
}

async function runAll(): Promise<number> {
  const sum = new Sum()
  if (isOne) {
    const print = trace ? { trace: (line: string) => console.log(line) } : {}
    sum.add(simulate({ seed: first, ...kept, ...print }))
  } else await Promise.all(Array.from({ length: jobs }, () => runJob(sum)))
  return sum.end()
}

/** One process after the other, until all seeds have run. What a run leaves is collected only when its process ends. */
async function runJob(sum: Sum): Promise<void> {
  while (next < first + count && !isLate() && !sum.isEnough) {
    const seeds = Math.min(PART_SEEDS, first + count - next)
    const words = ["--part", "--seed", String(next), "--seeds", String(seeds)]
    if (canary !== undefined) words.push("--canary", canary)
    if (nodes !== undefined) words.push("--nodes", String(nodes))
    next += seeds
    await runProcess(words, sum)
  }
}

async function runProcess(words: readonly string[], sum: Sum): Promise<void> {
  const job = Bun.spawn([process.execPath, import.meta.filename, ...words], { stdout: "pipe" })
  const decoder = new TextDecoder()
  let text = ""
  for await (const part of job.stdout) {
    text += decoder.decode(part, { stream: true })
    const lines = text.split("\n")
    text = lines.pop() ?? ""
    for (const line of lines) sum.add(JSON.parse(line) as Outcome)
    if (sum.isEnough || isLate()) job.kill()
  }
  const code = await job.exited
  if (code !== 0 && !sum.isEnough && !isLate()) sum.broken(`a process has ended with code ${code}`)
}

class Sum {
  #count = 0
  #failures = 0
  #problem: string | undefined
  #epochs = 0
  #faults = 0
  #answered = 0
  #borrowed = 0
  #lost = 0
  #events = 0
  readonly #settledMs: number[] = []

  get isEnough(): boolean {
    return this.#failures >= (canary === undefined ? FAILURES_MAX : 1)
  }

  add(outcome: Outcome): void {
    this.#count += 1
    this.#epochs += outcome.epochs
    this.#faults += outcome.faults
    this.#answered += outcome.answered
    this.#borrowed += outcome.borrowed
    this.#lost += outcome.lost
    this.#events += outcome.events
    this.#settledMs.push(outcome.settledMs)
    if (outcome.violations.length === 0) return
    this.#failures += 1
    const words = [
      `--seed ${outcome.seed}`,
      ...(nodes === undefined ? [] : [`--nodes ${nodes}`]),
      ...(canary === undefined ? [] : [`--canary ${canary}`]),
    ]
    console.log(`FAILED: ${words.join(" ")} (${outcome.config})`)
    for (const violation of outcome.violations.slice(0, 3)) console.log(`  ${violation}`)
  }

  broken(problem: string): void {
    this.#problem = problem
    console.log(`FAILED: ${problem}`)
  }

  /** Returns the exit code. */
  end(): number {
    const { length } = this.#settledMs
    const settled = this.#settledMs.toSorted((a, b) => a - b)
    const [median = 0, worst = 0] = [settled[length >> 1], settled.at(-1)].map(
      (ms) => (ms ?? 0) / 1000,
    )
    const took = (Date.now() - startMs) / 1000
    console.log(
      `${this.#events} events, ${this.#faults} faults, ${this.#epochs} epochs, ${this.#answered} commits answered, ` +
        `${this.#borrowed} of them with a borrowed lock, ${this.#lost} lost and kept; ` +
        `well ${median} s (median), ${worst} s (worst) after the last fault`,
    )
    console.log(
      `${this.#count} seeds in ${took.toFixed(0)} s, ${(this.#count / took).toFixed(1)} a second, ${this.#failures} failures`,
    )
    if (this.#problem !== undefined) return 1
    return canary === undefined ? Number(this.#failures > 0) : Number(this.#failures === 0)
  }
}
