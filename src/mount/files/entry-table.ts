/**
 * The entries that the kernel knows, by node id (the kernel's number for them) and by name.
 *
 * An entry is made when the kernel first asks for a name, and lives until the kernel forgets it. A file that is removed
 * while it is open keeps its entry; its name is then free for another.
 */
import { ROOT_ID } from "../../fuse/filesystem.ts"
import { FuseError } from "../../fuse/fuse-error.ts"
import { Errno } from "../../sys/errno.ts"
import type { FileEntry } from "./entry.ts"

interface Known {
  readonly entry: FileEntry
  references: number // of the kernel
}

export class EntryTable {
  readonly #known = new Map<number, Known>()
  readonly #names = new Map<string, FileEntry>()
  #nextNodeId = ROOT_ID + 1

  get nextNodeId(): number {
    return this.#nextNodeId
  }

  add(entry: FileEntry): FileEntry {
    this.#nextNodeId += 1
    this.#known.set(entry.nodeId, { entry, references: 0 })
    this.#names.set(entry.name, entry)
    return entry
  }

  named(name: string): FileEntry | undefined {
    return this.#names.get(name)
  }

  find(nodeId: number): FileEntry | undefined {
    return this.#known.get(nodeId)?.entry
  }

  get(nodeId: number): FileEntry {
    const entry = this.find(nodeId)
    if (entry === undefined) throw FuseError.of(nodeId === ROOT_ID ? Errno.EISDIR : Errno.ENOENT)
    return entry
  }

  /** The kernel is told of the entry once more. */
  refer({ nodeId }: FileEntry): void {
    const known = this.#known.get(nodeId)
    if (known !== undefined) known.references += 1
  }

  forget(nodeId: number, count: number): void {
    const known = this.#known.get(nodeId)
    if (known === undefined) return
    known.references -= count
    if (known.references > 0) return
    const { entry } = known
    this.#known.delete(nodeId)
    if (this.#names.get(entry.name) === entry) this.#names.delete(entry.name)
    entry.close()
  }

  /** The file is gone from the directory. */
  removeName({ name, nodeId }: FileEntry): void {
    this.#names.delete(name)
    if (this.#known.get(nodeId)?.references === 0) this.forget(nodeId, 0)
  }
}
