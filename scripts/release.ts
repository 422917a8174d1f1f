/**
 * Makes `dist/release`. Run it through `scripts/release`.
 *
 *     litefs-linux-ARCH          a static file; the runtime is mapped from it and shared between processes
 *     litefs-linux-ARCH-small    a static file, half as large; decompressed into memory at every start
 *     litefs-linux-ARCH-glibc    needs the glibc of the system
 *     install.sh                 installs one of them, and knows their sums
 *     litefs.1                   the manual page
 *     litefs.bash, .zsh, .fish   completion; install.sh has these four printed by what it installs
 *     litefs.cdx.json            SBOM, CycloneDX
 *     LICENSES.txt               what `litefs version --licenses` prints
 *     SHA256SUMS
 *
 * The directory is made beside the old one and then takes its place.
 */
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { join, resolve } from "node:path"
import { licensesText } from "../src/cli/components.ts"
import { ARCHITECTURES } from "./static/architecture.ts"
import { currentRevision, type Kind, type Revision, writeExecutables } from "./static/executable.ts"
import { loaderFor } from "./static/loader.ts"
import { softwareBill } from "./static/software-bill.ts"

const TARGET = "dist/release"
const MAKING = "dist/release.making"
const SUFFIX: Readonly<Record<Kind, string>> = { plain: "", small: "-small", glibc: "-glibc" }

process.chdir(resolve(import.meta.dirname, ".."))
try {
  await release()
} catch (error) {
  console.error(`ERROR: ${(error as Error).message}`)
  process.exitCode = 1
}

async function release(): Promise<void> {
  const revision = await cleanRevision()
  rmSync(MAKING, { recursive: true, force: true })
  mkdirSync(MAKING, { recursive: true })
  const executables: string[] = []
  const packages = new Map<string, string>()
  for (const architecture of Object.values(ARCHITECTURES)) {
    const names = Object.entries(SUFFIX).map(
      ([kind, suffix]) => [kind as Kind, `litefs-linux-${architecture.name}${suffix}`] as const,
    )
    const paths = names.map(([kind, name]) => [kind, join(MAKING, name)] as const)
    await writeExecutables(architecture, revision, Object.fromEntries(paths))
    executables.push(...names.map(([, name]) => name))
    for (const { name, version } of (await loaderFor(architecture)).packages) {
      packages.set(name, version)
    }
  }

  const sums = new Map(executables.map((name) => [name, sumOfFile(name)]))
  write("install.sh", installer(sums))
  chmodSync(join(MAKING, "install.sh"), 0o755)
  const printed = shellFiles(`litefs-linux-${process.arch}`)
  for (const [name, text] of Object.entries(printed)) write(name, text)
  write("LICENSES.txt", licensesText())
  write("litefs.cdx.json", softwareBill(revision, sums, packages))
  const texts = ["install.sh", "LICENSES.txt", "litefs.cdx.json", ...Object.keys(printed)]
  const all = [...executables, ...texts].sort()
  write("SHA256SUMS", all.map((name) => `${sumOfFile(name)}  ${name}\n`).join(""))

  rmSync(TARGET, { recursive: true, force: true })
  renameSync(MAKING, TARGET)
  for (const name of all) {
    const megabytes = (statSync(join(TARGET, name)).size / 1e6).toFixed(1)
    console.error(`${megabytes.padStart(6)} MB ${join(TARGET, name)}`)
  }
}

/** What is released is what somebody else can make again. */
async function cleanRevision(): Promise<Revision> {
  const revision = await currentRevision()
  if (process.argv.includes("--dirty")) return revision
  if (revision.commit === undefined) throw new Error("Cannot release: this is not a git repository")
  if (revision.commit.endsWith("-dirty")) {
    throw new Error("Cannot release: files differ from the commit, commit them or give --dirty")
  }
  return revision
}

/** What an executable for this machine prints; the others would print the same. */
function shellFiles(executable: string): Record<string, string> {
  const print = (...words: string[]) => {
    return execFileSync(resolve(MAKING, executable), words, { encoding: "utf8" })
  }
  return {
    "litefs.1": print("man"),
    "litefs.bash": print("completion", "bash"),
    "litefs.zsh": print("completion", "zsh"),
    "litefs.fish": print("completion", "fish"),
  }
}

/** The installer has the sums in itself: who trusts it, trusts what it installs. */
function installer(sums: ReadonlyMap<string, string>): string {
  const lines = [...sums].map(([name, sum]) => `${sum}  ${name}`).join("\n")
  const template = readFileSync("packaging/install.sh", "utf8")
  if (!template.includes("@SUMS@")) throw new Error("Cannot fill packaging/install.sh: no @SUMS@")
  return template.replace("@SUMS@", lines)
}

function write(name: string, text: string): void {
  writeFileSync(join(MAKING, name), text)
}

function sumOfFile(name: string): string {
  return createHash("sha256")
    .update(readFileSync(join(MAKING, name)))
    .digest("hex")
}
