/**
 * Bun for a platform that need not be this one: npm's package of it, in the version of `package-lock.json`, which also
 * has its sum.
 */
import { createHash } from "node:crypto"
import { chmodSync, globSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { cachedDirectory, sumOf } from "./cache.ts"
import { run } from "./command.ts"

interface LockedPackage {
  readonly version: string
  /** `sha512-` and base64 */
  readonly integrity: string
}

/** The path of the executable for a platform like `linux-x64-musl`; fetched now or earlier. */
export async function bunRuntime(platform: string): Promise<string> {
  const name = `@oven/bun-${platform}`
  const locked = lockedPackage(name)
  const sum = sumOf([], locked.integrity)
  const directory = await cachedDirectory(
    `bun-${platform}-${locked.version}`,
    sum,
    async (into) => {
      console.error(`fetching ${name} ${locked.version}, once`)
      await run([
        "npm",
        "pack",
        "--silent",
        `--pack-destination=${into}`,
        `${name}@${locked.version}`,
      ])
      const [archive] = globSync(join(into, "*.tgz"))
      if (archive === undefined) throw new Error(`Cannot fetch ${name}: npm has written no file`)
      verify(archive, name, locked)
      await run(["tar", "-xzf", archive, "-C", into, "--strip-components=2", "package/bin/bun"])
      chmodSync(join(into, "bun"), 0o755)
      rmSync(archive)
    },
  )
  return join(directory, "bun")
}

function lockedPackage(name: string): LockedPackage {
  const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"))
  const found = packages[`node_modules/${name}`] as LockedPackage | undefined
  if (found === undefined) throw new Error(`Cannot fetch ${name}: it is not in package-lock.json`)
  return found
}

function verify(archive: string, name: string, { integrity }: LockedPackage): void {
  const [algorithm = "", expected] = integrity.split("-", 2)
  const actual = createHash(algorithm).update(readFileSync(archive)).digest("base64")
  // base64 has no "-" in it, so the two halves are whole.
  if (actual !== expected) {
    throw new Error(
      `Cannot use ${name}: its sum is ${algorithm}-${actual}, it should be ${integrity}`,
    )
  }
}
