/**
 * Runs SQLite's own tests on a plain directory and on a mount. Run it through `scripts/conformance`.
 *
 * Each file of tests has a directory, and a node, of its own: what one leaves behind does not matter to the next.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { ARGUED, type Argument, argumentFor } from "../test/conformance/argued.ts"
import { type Difference, differencesOf, type Report } from "../test/conformance/report.ts"
import { longForm, named, shortForm } from "../test/conformance/selection.ts"
import {
  type Place,
  programs,
  runSubject,
  type Subject,
  tclFiles,
} from "../test/conformance/subject.ts"
import { Scope } from "../test/support/node.ts"

interface Compared {
  readonly subject: Subject
  readonly plain: Report
  readonly mount: Report
  readonly seconds: { readonly plain: number; readonly mount: number }
  readonly differences: readonly Difference[]
}

const options = readOptions()
const work = options.keep ?? mkdtempSync(join(tmpdir(), "litefs-conformance-"))
mkdirSync(work, { recursive: true })
/** Arguments that were needed, with the tests they were needed for. */
const needed = new Map<Argument, Set<string>>()
let same = 0
let open = 0
try {
  const started = performance.now()
  console.log("                                  tests  failed    failed   seconds")
  console.log("                               on plain  plain   on mount  plain mount")
  const queue = [...options.subjects]
  await Promise.all(
    Array.from({ length: options.jobs }, async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        show(await compare(next))
      }
    }),
  )
  const seconds = ((performance.now() - started) / 1000).toFixed(0)
  console.log("\nArgued, in test/conformance/argued.ts:")
  for (const [{ why }, names] of needed) console.log(`  ${why}:\n    ${[...names].join(", ")}`)
  const unneeded = ARGUED.flatMap((argument) => {
    const names = Object.keys(argument.tests).filter((name) => !needed.get(argument)?.has(name))
    return names.filter((name) => options.subjects.some((subject) => subject.name === name))
  })
  if (unneeded.length > 0) console.log(`Argued, but not seen: ${unneeded.join(", ")}`)
  const count = options.subjects.length
  console.log(
    `\n${count} run in ${seconds} s: ${same} the same, ${count - same - open} argued, ${open} different`,
  )
} finally {
  if (options.keep === undefined) rmSync(work, { recursive: true, force: true })
}
process.exit(open === 0 ? 0 : 1)

async function compare(subject: Subject): Promise<Compared> {
  const directory = join(work, subject.name.replaceAll(/[^\w.-]+/g, "-"))
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(join(directory, "plain"), { recursive: true })
  const run = async (side: string, place: Place): Promise<[Report, number]> => {
    const startMs = performance.now()
    const report = await runSubject(subject, {
      place,
      home: join(directory, `${side}-home`),
      log: join(directory, `${side}.log`),
    })
    return [report, (performance.now() - startMs) / 1000]
  }
  const [plain, plainSeconds] = await run("plain", { directory: join(directory, "plain") })
  await using scope = new Scope()
  const node = await scope.node()
  const [mount, mountSeconds] = await run("mount", { directory: node.mount, url: node.url })
  if (options.keep !== undefined) await Bun.write(join(directory, "node.log"), node.output)
  if (!node.isRunning) throw new Error(`The node ended during ${subject.name}:\n${node.output}`)
  return {
    subject,
    plain,
    mount,
    seconds: { plain: plainSeconds, mount: mountSeconds },
    differences: differencesOf(plain, mount),
  }
}

function show({ subject, plain, mount, seconds, differences }: Compared): void {
  const unargued = differences.filter((difference) => {
    const argument = argumentFor(subject.name, difference)
    if (argument === undefined) return true
    needed.set(argument, (needed.get(argument) ?? new Set()).add(subject.name))
    return false
  })
  if (differences.length === 0) same++
  else if (unargued.length > 0) open++
  if (differences.length === 0 && !options.isAll) return
  const figures = [
    String(plain.count).padStart(8),
    String(plain.failed.size).padStart(7),
    String(mount.failed.size).padStart(9),
    seconds.plain.toFixed(1).padStart(8),
    seconds.mount.toFixed(1).padStart(6),
  ]
  console.log(`${subject.name.padEnd(30)} ${figures.join(" ")}`)
  for (const difference of differences) {
    const mark = unargued.includes(difference) ? "DIFFERENT" : "argued"
    console.log(`    ${mark}: ${difference.name} failed on ${difference.on}`)
  }
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        short: { type: "boolean", default: false },
        all: { type: "boolean", default: false },
        only: { type: "string", multiple: true, default: [] },
        jobs: { type: "string", default: "2" },
        keep: { type: "string" },
      },
    })
    const jobs = Number(values.jobs)
    if (!Number.isInteger(jobs) || jobs < 1) {
      throw new RangeError(`Cannot use --jobs ${values.jobs}: it is not a number from 1`)
    }
    const sources = process.env.LITEFS_CONFORMANCE_DIR ?? ""
    const everything = [...tclFiles(sources), ...programs(sources)]
    const only = values.only.flatMap((name) => {
      const found = named(everything, name)
      if (found.length === 0) throw new RangeError(`Cannot run ${name}: SQLite has no such test`)
      return found
    })
    const chosen = values.short ? shortForm(everything) : longForm(everything)
    return {
      isAll: values.all,
      jobs,
      keep: values.keep === undefined ? undefined : resolve(values.keep),
      subjects: only.length > 0 ? only : chosen,
    }
  } catch (error) {
    console.error(`ERROR: ${(error as Error).message}`)
    process.exit(2)
  }
}
