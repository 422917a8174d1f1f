/** The short form of `scripts/torture --only lockpage`: the largest pages, of which there are fewest. */
import { test } from "../support/mount-test.ts"
import { testRandom } from "../support/random.ts"
import { lockPage } from "../torture/lock-page.ts"

const random = testRandom()

test(
  "a database grows over the lock page, at 1 GiB, and shrinks again, on both nodes",
  () => lockPage({ mode: random.pick(["wal", "delete"]), pageSize: 65536 }),
  180_000,
)
