/**
 * READDIR without open directories.
 *
 * A directory is read in pieces, each telling where the next one continues, while its entries come and go. Every name
 * therefore gets a number when it is first listed, larger than all before it, and keeps it for as long as it exists. A
 * reader that continues after number n misses nothing that existed all the time and sees nothing twice, however many
 * others read, and no reader has a state to remember.
 *
 * 1. "." and ".." are numbers 1 and 2 of every directory.
 * 2. A name that was removed and made again between two listings keeps its number; otherwise it gets a new one. A
 *    reader may see such a name once or twice; POSIX leaves that open.
 *
 * Directories are remembered for good: a mount has few of them.
 */
import { type DirectoryEntry, ROOT_ID } from "./filesystem.ts"

const FIRST_OFFSET = 3

interface Directory {
  offsets: Map<string, number> // of each name, ascending
  nextOffset: number
}

export interface Placed {
  offset: number
  entry: DirectoryEntry
}

export class DirectoryOffsets {
  readonly #directories = new Map<number, Directory>()

  /** What a reader has left after `offset`, in order: of `entries`, which are all the present ones, and the dots. */
  after(nodeId: number, entries: Iterable<DirectoryEntry>, offset: number): Placed[] {
    const byName = new Map<string, DirectoryEntry>()
    for (const entry of entries) byName.set(entry.name, entry)
    const { offsets } = this.#update(nodeId, byName)

    const rest = dotsOf(nodeId).filter((dot) => dot.offset > offset)
    for (const [name, place] of offsets) {
      const entry = byName.get(name)
      if (entry !== undefined && place > offset) rest.push({ offset: place, entry })
    }
    return rest
  }

  #update(nodeId: number, byName: ReadonlyMap<string, DirectoryEntry>): Directory {
    let directory = this.#directories.get(nodeId)
    if (directory === undefined) {
      directory = { offsets: new Map(), nextOffset: FIRST_OFFSET }
      this.#directories.set(nodeId, directory)
    }
    const { offsets } = directory
    for (const name of offsets.keys()) {
      if (!byName.has(name)) offsets.delete(name)
    }
    for (const name of byName.keys()) {
      if (!offsets.has(name)) offsets.set(name, directory.nextOffset++)
    }
    return directory
  }
}

function dotsOf(nodeId: number): Placed[] {
  return [
    { offset: 1, entry: { name: ".", nodeId, kind: "directory" } },
    { offset: 2, entry: { name: "..", nodeId: ROOT_ID, kind: "directory" } },
  ]
}
