/** Snapshots of a captured database, read as slowly as the test wants. */
import { join } from "node:path"
import type { Capture } from "../../src/capture/capture.ts"
import type { FrozenState, FrozenView } from "../../src/capture/frozen-view.ts"
import { SnapshotReader } from "../../src/peer/serve/snapshot-reader.ts"
import { type DatabaseFile, DataDir } from "../../src/store/data-dir.ts"
import { concat } from "./bytes.ts"

/** Of large pages, each is a part of its own: what there is credit for is one page. */
export const LARGE_PAGE_SIZE = 65536

class OneDatabaseDir extends DataDir {
  override path(_name: string, file: DatabaseFile): string {
    return join(this.root, file)
  }
}

let nextSide = 1

export class SlowSnapshot {
  readonly state: FrozenState
  readonly #view: FrozenView
  readonly #capture: Capture
  readonly #reader: SnapshotReader
  readonly #parts: Uint8Array[] = []
  readonly #done: Promise<void>

  private constructor(root: string, capture: Capture, view: FrozenView, format: "ltx" | "raw") {
    this.#view = view
    this.#capture = capture
    this.state = view.state
    this.#reader = new SnapshotReader(new OneDatabaseDir(root), "app.db", view.state, format, 7n)
    this.#done = this.#reader.send((bytes) => this.#parts.push(bytes))
    this.#done.catch(() => {})
  }

  /** When no transaction is in the file. */
  static of(root: string, capture: Capture, format: "ltx" | "raw" = "raw"): SlowSnapshot {
    const frozen: SlowSnapshot[] = []
    capture.freeze(join(root, `side-${nextSide++}`), (view) => {
      frozen.push(new SlowSnapshot(root, capture, view, format))
    })
    return frozen[0] as SlowSnapshot
  }

  get partCount(): number {
    return this.#parts.length
  }

  async readPage(): Promise<void> {
    this.#reader.addCredit(LARGE_PAGE_SIZE)
    for (let turn = 0; turn < 4; turn++) await Promise.resolve()
  }

  cancel(): void {
    this.#reader.cancel()
  }

  /** All of it. */
  async finish(): Promise<Uint8Array> {
    this.#reader.addCredit(Number.MAX_SAFE_INTEGER)
    try {
      await this.#done
    } finally {
      this.#capture.thaw(this.#view)
    }
    return concat(...this.#parts)
  }
}
