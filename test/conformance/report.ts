/** What one of SQLite's test programs says, and what is different when it says it about another file system. */

export interface Report {
  /** How many tests it ran. */
  readonly count: number
  /** What went wrong, by the name of the test; how the program ended is in parentheses. */
  readonly failed: ReadonlySet<string>
  /** A hash of all that its statements returned, if it makes one. */
  readonly hash?: string
}

export interface Difference {
  /** The name of a test, or what stands in parentheses in its place. */
  readonly name: string
  readonly on: "mount" | "plain"
}

/**
 * A TCL test prints "name... Ok" or "! name expected" for each, and a sum at its end. Without the sum it did not get
 * there: it was killed, or gave up.
 */
export function readTclOutput(output: string, end: string | undefined): Report {
  const failed = new Set<string>()
  const sum = /^(\d+) errors out of (\d+) tests/m.exec(output)
  for (const [, name] of output.matchAll(/^! (\S+) (?:expected|got):/gm)) failed.add(name as string)
  for (const [, name] of output.matchAll(/^(\S+)\.\.\.\nError: /gm)) failed.add(name as string)
  const list = /^!Failures on these tests:(.*)$/m.exec(output)?.[1] ?? ""
  for (const name of list.split(" ").filter((each) => each !== "")) failed.add(name)
  if (sum === null) failed.add(`(ended early: ${tclError(output) ?? end ?? lastLine(output)})`)
  const ran = sum?.[2] ?? output.match(/^\S+\.\.\. /gm)?.length ?? 0
  return { count: Number(ran), failed }
}

/**
 * mptest and threadtest3 print "N errors out of M tests", speedtest1 a hash of all its results. Each counts as one test:
 * how many mptest has heard of by its end depends on how fast its processes end.
 */
export function readProgramOutput(output: string, end: string | undefined): Report {
  const failed = new Set<string>()
  const sum = /(\d+) errors out of (\d+) tests/.exec(output)
  const hash = /^Verification Hash: (.*)$/m.exec(output)?.[1]
  if (end !== undefined) failed.add(`(ended: ${end})`)
  if (sum !== null && sum[1] !== "0") failed.add(`(${sum[1]} errors)`)
  if (sum === null && hash === undefined) failed.add(`(ended early: ${lastLine(output)})`)
  return { count: 1, failed, ...(hash === undefined ? {} : { hash }) }
}

/** Tests that failed on one side alone; a different number of tests when none did. */
export function differencesOf(plain: Report, mount: Report): Difference[] {
  const differences: Difference[] = [
    ...[...mount.failed].filter((name) => !plain.failed.has(name)).map(on("mount")),
    ...[...plain.failed].filter((name) => !mount.failed.has(name)).map(on("plain")),
  ]
  if (plain.hash !== mount.hash) differences.push({ name: "(hash)", on: "mount" })
  if (differences.length === 0 && plain.count !== mount.count) {
    differences.push({ name: "(count)", on: "mount" })
  }
  return differences
}

function on(side: Difference["on"]): (name: string) => Difference {
  return (name) => ({ name, on: side })
}

/** What Tcl says when a file of tests gives up, before the lines of its stack. */
function tclError(output: string): string | undefined {
  return /^\S*testfixture: (.*)$/m.exec(output)?.[1]?.slice(0, 80)
}

function lastLine(output: string): string {
  return output.trimEnd().split("\n").at(-1)?.slice(0, 80) ?? ""
}
