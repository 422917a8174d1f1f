/** `test` for what mounts: skipped where nothing can be mounted. */
import { test as anyTest } from "bun:test"
import { canMount } from "./node.ts"

export const test = anyTest.skipIf(!canMount)
