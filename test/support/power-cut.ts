/**
 * What a power cut leaves of a directory, from the trace of the calls that were made on it (src/sys/trace.ts).
 *
 * Durable is, at a moment:
 *
 * 1. of a file, what was written before its last sync began; of everything, what was before the last syncfs;
 * 2. of names, what was made, renamed and removed in a directory before its last sync began. The sync of a file
 *    makes its own name durable too, and the directories above it: see src/store/ltx/ltx-directory.ts.
 *
 * What is not durable may be there all the same. Of writes, any sector of 512 bytes: but not what follows a
 * cut of the file that is lost, since then the bytes have no place. Of names, as file systems with a journal
 * do it, everything up to some moment (`inOrder`), or, as nobody promises anything else, each by itself.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import type { TraceEvent } from "../../src/sys/trace.ts"
import type { DirectoryImage } from "./directory-image.ts"
import type { Random } from "./random.ts"

const SECTOR = 512

type Recorded = TraceEvent & {
  readonly at: number // where the record begins: what the trace's size was
  readonly end: number
  readonly data: Uint8Array
}

export function readTrace(path: string): Recorded[] {
  const bytes = readFileSync(path)
  const events: Recorded[] = []
  for (let at = 0; at + 8 <= bytes.length; ) {
    const jsonSize = bytes.readUInt32LE(at)
    const dataSize = bytes.readUInt32LE(at + 4)
    const end = at + 8 + jsonSize + dataSize
    if (end > bytes.length) break // its thread was killed at it
    const event = JSON.parse(bytes.toString("utf8", at + 8, at + 8 + jsonSize)) as TraceEvent
    events.push({ ...event, at, end, data: bytes.subarray(at + 8 + jsonSize, end) })
    at = end
  }
  return events
}

interface FileChange {
  readonly at: number
  readonly offset: number // of a write; of a change of size, the size
  readonly data: Uint8Array | undefined
}

interface TracedFile {
  readonly changes: FileChange[]
  durable: number // changes before this position are on the disk
}

interface NameChange {
  readonly at: number
  readonly type: "create" | "mkdir" | "rename" | "link" | "unlink"
  readonly path: string
  readonly to: string
  readonly file: TracedFile | undefined // that is made or renamed
  isDurable: boolean
}

export type Fate = "none" | "few" | "half" | "most" | "all"
export const FATES = ["none", "few", "half", "most", "all"] as const
const CHANCE: Record<Fate, number> = { none: 0, few: 0.1, half: 0.5, most: 0.9, all: 1 }

export interface CutOptions {
  readonly random: Random
  readonly data: Fate // of what is written and not durable
  readonly names: Fate
  readonly inOrder: boolean
}

/** Everything a trace tells of one directory up to some position. Moves forward only. */
export class TracedDirectory {
  readonly #root: string
  readonly #events: readonly Recorded[]
  readonly #byInode = new Map<string, TracedFile>()
  readonly #byPath = new Map<string, TracedFile>()
  readonly #names: NameChange[] = []
  #next = 0

  constructor(root: string, events: readonly Recorded[]) {
    this.#root = root
    this.#events = events
  }

  /** What is there now is on the disk: for a trace that begins now. */
  static existing(
    root: string,
    events: readonly Recorded[],
    image: DirectoryImage,
  ): TracedDirectory {
    const directory = new TracedDirectory(root, events)
    const onDisk = { at: -1, to: "", isDurable: true }
    directory.#names.push({ ...onDisk, type: "mkdir", path: root, file: undefined })
    for (const name of image.directories) {
      directory.#names.push({ ...onDisk, type: "mkdir", path: join(root, name), file: undefined })
    }
    for (const { name, bytes, size, inode } of image.files) {
      const changes: FileChange[] = [
        { at: -1, offset: 0, data: bytes },
        { at: -1, offset: size, data: undefined },
      ]
      const file = { changes, durable: 0 }
      const path = join(root, name)
      directory.#byInode.set(inode, file)
      directory.#byPath.set(path, file)
      directory.#names.push({ ...onDisk, type: "create", path, file })
    }
    return directory
  }

  /** Takes all records that end at `position` or before. */
  advance(position: number): void {
    for (;;) {
      const event = this.#events[this.#next]
      if (event === undefined || event.end > position) return
      this.#apply(event)
      this.#next += 1
    }
  }

  #apply(event: Recorded): void {
    switch (event.type) {
      case "create": {
        const file = { changes: [], durable: 0 }
        this.#byInode.set(event.inode, file)
        this.#addName(event, event.path, "", file)
        this.#byPath.set(event.path, file)
        return
      }
      case "mkdir":
        return this.#addName(event, event.path, "", undefined)
      case "unlink":
        this.#addName(event, event.path, "", undefined)
        this.#byPath.delete(event.path)
        return
      case "link": {
        const file = this.#byPath.get(event.path)
        this.#addName(event, event.path, event.to, file)
        if (file !== undefined) this.#byPath.set(event.to, file)
        return
      }
      case "rename": {
        const file = this.#byPath.get(event.path)
        this.#addName(event, event.path, event.to, file)
        this.#byPath.delete(event.path)
        if (file !== undefined) this.#byPath.set(event.to, file)
        return
      }
      case "write":
      case "truncate": {
        const isWrite = event.type === "write"
        const offset = isWrite ? event.offset : event.size
        const data = isWrite ? event.data : undefined
        this.#byInode.get(event.inode)?.changes.push({ at: event.at, offset, data })
        return
      }
      case "sync": {
        const file = this.#byInode.get(event.inode)
        if (file === undefined) return
        file.durable = Math.max(file.durable, event.start)
        for (const name of this.#names) {
          if (name.file === file && name.at < event.start) this.#keepName(name)
        }
        return
      }
      case "sync-directory":
        for (const name of this.#names) {
          const isInIt = dirname(name.path) === event.path || dirname(name.to) === event.path
          if (isInIt && name.at < event.start) this.#keepName(name)
        }
        return this.#keepParents(event.path)
      case "syncfs":
        for (const file of this.#byInode.values()) {
          file.durable = Math.max(file.durable, event.start)
        }
        for (const name of this.#names) if (name.at < event.start) name.isDurable = true
    }
  }

  #addName(
    { at, type }: { at: number; type: NameChange["type"] },
    path: string,
    to: string,
    file: TracedFile | undefined,
  ): void {
    if (relative(this.#root, path).startsWith("..")) return
    this.#names.push({ at, type, path, to, file, isDurable: path === this.#root })
  }

  #keepName(name: NameChange): void {
    name.isDurable = true
    this.#keepParents(dirname(name.path))
  }

  #keepParents(directory: string): void {
    for (const name of this.#names) {
      if (name.type !== "mkdir" || name.isDurable) continue
      if (name.path === directory || directory.startsWith(`${name.path}/`)) name.isDurable = true
    }
  }

  /** Writes what a cut now may leave to a new directory. */
  cut(target: string, options: CutOptions): void {
    const { random, names: fate, inOrder } = options
    const isKept = () => random.below(1000) < CHANCE[fate] * 1000
    const open = this.#names.filter((name) => !name.isDurable).length
    let left = inOrder
      ? Math.round(open * (CHANCE[fate] === 0.5 ? random.below(101) / 100 : CHANCE[fate]))
      : 0
    const found = new Map<string, TracedFile | "directory">()
    for (const name of this.#names) {
      if (!name.isDurable && (inOrder ? left-- <= 0 : !isKept())) continue
      const { type, path, to, file } = name
      if (type === "mkdir") found.set(path, "directory")
      if (type === "create" && file !== undefined) found.set(path, file)
      if (type === "unlink") found.delete(path)
      if (type === "link" && file !== undefined) found.set(to, file)
      if (type === "rename") {
        if (found.get(path) === "directory") moveDirectory(found, path, to)
        else if (file !== undefined) found.set(to, file)
        found.delete(path)
      }
    }
    mkdirSync(target, { recursive: true })
    const directories = new Set([this.#root])
    for (const path of [...found.keys()].sort()) {
      const content = found.get(path)
      if (!directories.has(dirname(path)) && path !== this.#root) continue // its directory is lost
      const place = join(target, relative(this.#root, path))
      if (content === "directory") {
        mkdirSync(place, { recursive: true })
        directories.add(path)
      } else if (content !== undefined) {
        writeFileSync(place, contentOf(content, options))
      }
    }
  }
}

function moveDirectory<T>(found: Map<string, T>, path: string, to: string): void {
  for (const [name, content] of [...found]) {
    if (name !== path && !name.startsWith(`${path}/`)) continue
    found.delete(name)
    found.set(to + name.slice(path.length), content)
  }
}

function contentOf(file: TracedFile, { random, data: fate }: CutOptions): Uint8Array {
  let bytes = new Uint8Array(0)
  let size = 0
  let isCutLost = false
  const isKept = () => random.below(1000) < CHANCE[fate] * 1000
  const put = (offset: number, data: Uint8Array) => {
    const end = offset + data.length
    if (end > bytes.length) {
      const grown = new Uint8Array(Math.max(end, bytes.length * 2))
      grown.set(bytes.subarray(0, size))
      bytes = grown
    }
    bytes.set(data, offset)
    size = Math.max(size, end)
  }
  for (const { at, offset, data } of file.changes) {
    const isDurable = at < file.durable
    if (data === undefined) {
      if (!isDurable && (isCutLost || !isKept())) {
        if (offset < size) isCutLost = true
        continue
      }
      if (offset < size) bytes.fill(0, offset, size)
      else if (offset > bytes.length) put(offset - 1, new Uint8Array(1))
      size = offset
    } else if (isDurable) {
      put(offset, data)
    } else if (!isCutLost) {
      if (fate === "none") continue
      let kept = offset // before it everything is there, or is lost
      const keepUntil = (end: number) => {
        if (end > kept) put(kept, data.subarray(kept - offset, end - offset))
      }
      for (let start = offset; start < offset + data.length && fate !== "all"; ) {
        const end = Math.min(offset + data.length, (Math.floor(start / SECTOR) + 1) * SECTOR)
        if (!isKept()) {
          keepUntil(start)
          kept = end
        }
        start = end
      }
      keepUntil(offset + data.length)
    }
  }
  return bytes.subarray(0, size)
}
