import { statSync } from "node:fs"
import { goldenPath, hasGolden, listGolden, readGolden } from "../support/golden.ts"
import { INPUT_SIZE_MAX } from "./mutator.ts"

const COUNT_MAX = 12

/** Files of the golden folder, if it is here, as far as they are small: `pattern` is for their whole path in it. */
export function goldenSeeds(pattern: RegExp): Uint8Array[] {
  if (!hasGolden) return []
  const paths = below("").filter((path) => {
    return pattern.test(path) && statSync(goldenPath(path)).size <= INPUT_SIZE_MAX
  })
  return paths.slice(0, COUNT_MAX).map((path) => readGolden(path))
}

function below(directory: string): string[] {
  return listGolden(directory).flatMap((name) => {
    const path = directory === "" ? name : `${directory}/${name}`
    return statSync(goldenPath(path)).isDirectory() ? below(path) : [path]
  })
}
