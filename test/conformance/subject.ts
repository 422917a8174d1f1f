/**
 * One of SQLite's test programs, as it is run in a directory of its own: a TCL file of tests, or a program that needs
 * none.
 *
 * TCL tests name their files in the current directory (test.db, test2.db, test.db-journal), which testfixture makes
 * the one that it is told. It runs from another directory, where tests that write elsewhere do no harm.
 */
import { spawn } from "node:child_process"
import { closeSync, existsSync, globSync, mkdirSync, openSync, readFileSync } from "node:fs"
import { basename, join } from "node:path"
import { PROGRAM } from "../support/node.ts"
import { type Report, readProgramOutput, readTclOutput } from "./report.ts"

export interface Subject {
  readonly name: string
  /** What to run for tests in this place. */
  command(place: Place): readonly string[]
  read(output: string, end: string | undefined): Report
  readonly limitMs: number
  /** Its current directory is the one for the tests. */
  readonly isInside: boolean
}

/** A directory, and the node whose mount it is. */
export interface Place {
  readonly directory: string
  readonly url?: string
}

const IN_MOUNT = join(import.meta.dirname, "in-mount.tcl")
const TCL_LIMIT_MS = 1_200_000
const PROGRAM_LIMIT_MS = 600_000

/** `sources` is what scripts/conformance-build prints. */
export function tclFiles(sources: string): Subject[] {
  const paths = globSync("{test,ext/*,ext/*/test}/*.test", { cwd: sources }).sort()
  return paths.map((path) => ({
    name: basename(path),
    command: ({ directory, url }) => [
      join(sources, "testfixture"),
      ...(url === undefined ? [] : [IN_MOUNT, ...PROGRAM, "--", url]),
      join(sources, path),
      `--testdir=${directory}`,
    ],
    read: readTclOutput,
    limitMs: TCL_LIMIT_MS,
    isInside: false,
  }))
}

export function programs(sources: string): Subject[] {
  const mptest = (script: string, mode: string) =>
    program(`mptest ${mode} ${script}`, sources, "mptester", [
      "mp.db",
      join(sources, "mptest", `${script}.test`),
      "--journalmode",
      mode,
    ])
  const threadtest = (name: string) =>
    program(`threadtest3 ${name}`, sources, "threadtest3", [name])
  const speedtest = (...flags: string[]) =>
    program(`speedtest1 ${flags.join(" ")}`, sources, "speedtest1", [
      ...["--size", "20", "--verify", ...flags],
      "speed.db",
    ])
  return [
    // Its other scripts use journal modes that are refused (argued.ts).
    ...["wal", "delete", "truncate", "persist"].flatMap((mode) => [
      mptest("multiwrite01", mode),
      mptest("crash01", mode),
    ]),
    ...THREAD_TESTS.map(threadtest),
    ...["wal", "delete", "truncate", "persist"].map((mode) => speedtest("--journal", mode)),
    speedtest("--journal", "wal", "--mmap", "100000000"),
    speedtest("--journal", "delete", "--autovacuum"),
  ]
}

const THREAD_TESTS = [
  ...["walthread1", "walthread2", "walthread3", "walthread4", "walthread5"],
  ...["cgt_pager_1", "dynamic_triggers", "checkpoint_starvation_1", "checkpoint_starvation_2"],
  ...["create_drop_index_1", "lookaside1", "vacuum1", "stress1", "stress2", "shared1"],
]

function program(name: string, sources: string, file: string, args: string[]): Subject {
  return {
    name,
    command: () => [join(sources, file), ...args],
    read: readProgramOutput,
    limitMs: PROGRAM_LIMIT_MS,
    isInside: true,
  }
}

/** Runs it with its output in a file; `home` is where it may write beside the tests' directory. */
export async function runSubject(
  subject: Subject,
  { place, home, log }: { place: Place; home: string; log: string },
): Promise<Report> {
  if (!existsSync(home)) mkdirSync(home)
  const output = openSync(log, "w")
  const [file = "", ...args] = subject.command(place)
  // A shell changes the directory, since a hung mount would hang this process.
  const cd = [
    "sh",
    "-c",
    'cd "$0" && exec "$@"',
    subject.isInside ? place.directory : home,
    file,
    ...args,
  ]
  const child = spawn(cd[0] as string, cd.slice(1), {
    stdio: ["ignore", output, output],
    detached: true, // a process group, with everything that it starts
  })
  closeSync(output)
  let isLate = false
  const limit = setTimeout(() => {
    isLate = true
    process.kill(-(child.pid as number), "SIGKILL")
  }, subject.limitMs)
  const end = await new Promise<string | undefined>((done) => {
    child.once("error", (error) => done(error.message))
    child.once("exit", (code, signal) => {
      if (code === 0) return done(undefined)
      done(isLate ? "the time limit" : (signal ?? `exit code ${code}`))
    })
  })
  clearTimeout(limit)
  // Some tests start processes that wait for input for ever.
  try {
    process.kill(-(child.pid as number), "SIGKILL")
  } catch {
    // they have ended
  }
  return subject.read(readFileSync(log, "latin1"), end)
}
