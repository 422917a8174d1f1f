/** The software bill of materials of a release: CycloneDX 1.5, as JSON. */
import { createHash } from "node:crypto"
import { COMPONENTS } from "../../src/cli/components.ts"
import type { Revision } from "./executable.ts"

/** What a component of an executable is called where its version comes from. */
const PACKAGE_URLS: Readonly<Record<string, (version: string) => string>> = {
  Bun: (version) => `pkg:npm/bun@${version}`,
  citty: (version) => `pkg:npm/citty@${version}`,
  consola: (version) => `pkg:npm/consola@${version}`,
}

const DEBIAN_COMPONENTS: Readonly<Record<string, RegExp>> = {
  musl: /^musl$/,
  "libstdc++": /^gcc-\d+-source$/,
}

/**
 * `sums` are those of the executables, by name; `packages` are the versions of Debian's packages that were compiled or
 * copied. It says nothing about when and where it was made, so the same release has the same bill.
 */
export function softwareBill(
  revision: Revision,
  sums: ReadonlyMap<string, string>,
  packages: ReadonlyMap<string, string>,
): string {
  const [own, ...parts] = COMPONENTS
  const bill = {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    serialNumber: `urn:uuid:${uuidOf([...sums.values()].join())}`,
    version: 1,
    metadata: {
      ...(revision.date === undefined ? {} : { timestamp: revision.date }),
      component: {
        type: "application",
        name: own?.name,
        version: own?.version,
        licenses: [{ expression: own?.license }],
        properties: [{ name: "git:commit", value: revision.commit ?? "" }],
      },
    },
    components: [
      ...parts.map(({ name, version, license, copyright, home }) => ({
        type: "library",
        name,
        ...versionOf(name, version, packages),
        licenses: [{ expression: license }],
        copyright,
        externalReferences: [{ type: "website", url: home }],
      })),
      ...[...sums].map(([name, content]) => ({
        type: "file",
        name,
        hashes: [{ alg: "SHA-256", content }],
      })),
    ],
  }
  return `${JSON.stringify(bill, undefined, 2)}\n`
}

function versionOf(
  name: string,
  version: string | undefined,
  packages: ReadonlyMap<string, string>,
) {
  if (version !== undefined) return { version, purl: PACKAGE_URLS[name]?.(version) }
  const pattern = DEBIAN_COMPONENTS[name]
  const found = [...packages].find(([packageName]) => pattern?.test(packageName))
  if (found === undefined) return {}
  const [packageName, debianVersion] = found
  const encoded = encodeURIComponent(debianVersion)
  return { version: debianVersion, purl: `pkg:deb/debian/${packageName}@${encoded}` }
}

/** A UUID whose bits say that they are somebody's own (version 8). */
function uuidOf(text: string): string {
  const bytes = createHash("sha256").update(text).digest().subarray(0, 16)
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")
}
