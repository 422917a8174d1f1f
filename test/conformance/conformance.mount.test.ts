/**
 * Half of the short form of `scripts/conformance`, by chance, where SQLite's tests have been built: `scripts/test` tries
 * to. All of it with LITEFS_ALL_FAULTS.
 */
import { expect, test } from "bun:test"
import { globSync } from "node:fs"
import { join } from "node:path"
import { run } from "../support/client.ts"
import { canMount } from "../support/node.ts"
import { testRandom } from "../support/random.ts"
import { SHORT } from "./selection.ts"

const LIMIT_MS = 240_000
const isBuilt =
  globSync(join(process.env.XDG_CACHE_HOME ?? "/var/tmp", "litefs-conformance-*", "testfixture"))
    .length > 0
if (!isBuilt)
  console.log("SQLite's tests are not built here: they are left out (scripts/conformance-build)")

test.skipIf(!canMount || !isBuilt)(
  "SQLite's own tests see on a mount what they see on a plain directory",
  () => {
    const chosen = testRandom()
      .halfOf(SHORT)
      .flatMap((name) => ["--only", name])
    expect(run(["scripts/conformance", ...chosen], "", LIMIT_MS)).toMatch(/, 0 different\n$/)
  },
  LIMIT_MS,
)
