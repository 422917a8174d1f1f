/**
 * Debian's packages: fetched and unpacked, without installing them and without touching the system's lists of packages,
 * also those of another architecture. apt-get verifies what it fetches.
 */
import { globSync, mkdirSync } from "node:fs"
import { basename, join } from "node:path"
import type { Architecture } from "./architecture.ts"
import { run, runShell } from "./command.ts"

export interface DebianPackage {
  readonly name: string
  readonly version: string
  readonly path: string
}

/** Fetches packages into a directory. */
export async function fetchDebianPackages(
  names: readonly string[],
  architecture: Architecture,
  directory: string,
): Promise<DebianPackage[]> {
  const state = join(directory, "apt")
  for (const part of ["lists/partial", "cache/archives/partial"]) {
    mkdirSync(join(state, part), { recursive: true })
  }
  const options = [
    `Dir::State=${state}`,
    `Dir::State::status=/dev/null`,
    `Dir::State::lists=${state}/lists`,
    `Dir::Cache=${state}/cache`,
    `APT::Architecture=${architecture.debian}`,
    `APT::Architectures=${architecture.debian}`,
    "APT::Sandbox::User=root", // the directory is not for everybody
    "Acquire::Languages=none",
  ].flatMap((option) => ["-o", option])
  // Sources that have nothing to do with this may be out of reach: what is missing is missed at the download.
  let problem = ""
  await run(["apt-get", ...options, "-qq", "update"], { cwd: directory }).catch((error: Error) => {
    problem = `${error.message}\n`
  })
  await run(["apt-get", ...options, "-qq", "download", ...names], { cwd: directory }).catch(
    (error: Error) => {
      throw new Error(`${problem}${error.message}`)
    },
  )
  return names.map((name) => packageIn(directory, name))
}

/** NAME_VERSION_ARCHITECTURE.deb, where the colon in a version is written as %3a. */
function packageIn(directory: string, name: string): DebianPackage {
  const [path] = globSync(join(directory, `${name}_*.deb`))
  if (path === undefined) throw new Error(`Cannot fetch ${name}: apt-get has written no file`)
  const version = decodeURIComponent(basename(path).split("_")[1] ?? "")
  return { name, version, path }
}

export async function unpackDebianPackage({ path }: DebianPackage, into: string): Promise<void> {
  mkdirSync(into, { recursive: true })
  await run(["dpkg-deb", "-x", path, into])
}

/** Installs a program's package when there is no such program. */
export async function needProgram(program: string, packageName: string): Promise<void> {
  await runShell('source scripts/lib.sh; need_program "$1" "$2"', [program, packageName])
}
