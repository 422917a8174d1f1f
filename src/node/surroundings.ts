/** What a node's place among the others has of the world: time, chance, small files, and the ways to nodes and store. */
import { type NodeRequest, nodeRequest } from "../cluster/node-request.ts"
import { openStore } from "../cluster/stores/open-store.ts"
import { type Clock, systemClock } from "../lib/clock.ts"
import { randomBytes } from "../lib/random-bytes.ts"
import { type SmallFiles, smallFiles } from "../store/small-files.ts"
import { bootMs } from "../sys/process/boot-clock.ts"

export interface Surroundings {
  readonly clock: Clock
  /** sys/process/boot-clock.ts */
  bootMs(): number
  /** Bytes that nobody can guess. */
  randomBytes(size: number): Buffer
  readonly files: SmallFiles
  readonly request: NodeRequest
  readonly openStore: typeof openStore
}

/** Those of a process. A simulation owns all of them (test/simulation/node.ts). */
export const ourSurroundings: Surroundings = {
  ...{ clock: systemClock, bootMs, randomBytes },
  ...{ files: smallFiles, request: nodeRequest, openStore },
}
