/**
 * A record of every change that the daemon makes to files, and of every sync. It lets a test tell what a power cut at
 * any moment may leave (test/support/power-cut.ts).
 *
 * `LITEFS_TRACE=PATH` appends to the file, all threads together. Without it `trace` is undefined and a call costs one
 * comparison. A record is u32 size of the JSON, u32 size of the data, both little endian, the JSON, and the data of a
 * write. It is written when the call has succeeded. A sync records the size of the trace at its beginning: it certainly
 * covers only what was recorded before.
 */
import { appendFileSync, closeSync, fstatSync, openSync, statSync } from "node:fs"

export type TraceEvent =
  | { readonly type: "create"; readonly path: string; readonly inode: string }
  | { readonly type: "mkdir"; readonly path: string }
  | { readonly type: "write"; readonly inode: string; readonly offset: number }
  | { readonly type: "truncate"; readonly inode: string; readonly size: number }
  | { readonly type: "unlink"; readonly path: string }
  | { readonly type: "rename"; readonly path: string; readonly to: string }
  | { readonly type: "link"; readonly path: string; readonly to: string }
  | { readonly type: "sync"; readonly inode: string; readonly start: number }
  | { readonly type: "sync-directory"; readonly path: string; readonly start: number }
  | { readonly type: "syncfs"; readonly start: number }

export class Trace {
  readonly #fd: number

  constructor(path: string) {
    this.#fd = openSync(path, "a")
  }

  /** Size of the trace now: every earlier record lies before it. */
  get position(): number {
    return fstatSync(this.#fd).size
  }

  append(event: TraceEvent, data: Uint8Array = new Uint8Array(0)): void {
    const json = Buffer.from(JSON.stringify(event))
    const head = Buffer.alloc(8)
    head.writeUInt32LE(json.length, 0)
    head.writeUInt32LE(data.length, 4)
    // One write(2) to a file opened for appending: records of two threads never mix.
    appendFileSync(this.#fd, Buffer.concat([head, json, data]))
  }

  close(): void {
    closeSync(this.#fd)
  }

  /** Identifies a file. A path does not, because a file may be removed and made again. */
  inodeOf(fd: number): string {
    const { dev, ino } = fstatSync(fd)
    return `${dev}:${ino}`
  }

  exists(path: string): boolean {
    return statSync(path, { throwIfNoEntry: false }) !== undefined
  }
}

const path = process.env.LITEFS_TRACE
export let trace = path === undefined || path === "" ? undefined : new Trace(path)

/** For tests that run the code under test in their own process. */
export function setTrace(next: Trace | undefined): void {
  trace = next
}
