/** The short form of `scripts/torture --only lockpage`: the largest pages, of which there are fewest. */
import { test } from "bun:test"
import { canMount } from "../support/node.ts"
import { testRandom } from "../support/random.ts"
import { lockPage } from "../torture/lock-page.ts"

const random = testRandom()

test.skipIf(!canMount)(
  "a database grows over the lock page, at 1 GiB, and shrinks again, on both nodes",
  () => lockPage({ mode: random.pick(["wal", "delete"]), pageSize: 65536 }),
  180_000,
)
