/** Small files that are read and replaced as a whole. A simulated disk has some of its own. */
import { readWhole } from "../sys/file.ts"
import { replaceFile } from "./synced.ts"

export interface SmallFiles {
  /** Undefined when there is none. `kind` names the calls (sys/faults.ts). */
  read(kind: string, path: string): Uint8Array | undefined
  /** Durable when it returns. When it throws, the file has the old content, or nobody knows which. */
  replace(kind: string, path: string, bytes: Uint8Array): void
}

export const smallFiles: SmallFiles = {
  read: (kind, path) => readWhole(`${kind}:read`, path),
  replace: replaceFile,
}
