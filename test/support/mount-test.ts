/** `test` for what mounts: skipped where nothing can be mounted, or for those of writers that pass, nobody passes. */
import { test as anyTest } from "bun:test"
import { canMount, canPass } from "./node.ts"

export const test = anyTest.skipIf(!canMount)
export const passingTest = anyTest.skipIf(!canPass)
