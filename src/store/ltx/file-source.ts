import type { ByteSource } from "../../lib/byte-source.ts"
import { LitefsError } from "../../lib/errors.ts"
import { closedOnError, closeFile, type Fd, O_RDONLY, readBytesAt } from "../../sys/file.ts"
import { openOwnIfExists } from "../../sys/file-access.ts"
import { hasDataFrom, sizeOf } from "../../sys/file-status.ts"

/** A file that is only read. */
export class FileSource implements ByteSource, Disposable {
  readonly path: string
  readonly size: number
  readonly #fd: Fd

  private constructor(path: string, fd: Fd, size: number) {
    this.path = path
    this.size = size
    this.#fd = fd
  }

  /** Undefined when there is no such file. */
  static open(path: string): FileSource | undefined {
    const fd = openOwnIfExists("look:open", path, O_RDONLY)
    if (fd === undefined) return undefined
    return closedOnError(fd, () => new FileSource(path, fd, sizeOf("look:stat", fd)))
  }

  readAt(offset: number, target: Uint8Array): number {
    return readBytesAt("look:read", this.#fd, target, offset)
  }

  /** The size or, when all beyond `from` is a hole, no more than that: a sparse file may have any size. */
  sizeBesideHole(from: number): number {
    return this.size > from && !hasDataFrom(this.#fd, from) ? from : this.size
  }

  [Symbol.dispose](): void {
    closeFile(this.#fd)
  }
}

/** Opens a file that exists. Throws when it is gone. */
export function openLtxFile(path: string): FileSource {
  const file = FileSource.open(path)
  if (file === undefined) throw new LitefsError("not-found", `Cannot read "${path}": it is gone`)
  return file
}

const PIECE_SIZE = 64 * 1024

/**
 * The bytes of a file from front to back. The file is open only while a piece is read: any number of files can be read
 * side by side.
 */
export function* filePieces(path: string): Generator<Uint8Array, void, void> {
  for (let offset = 0; ; ) {
    using file = FileSource.open(path)
    const size = Math.min(PIECE_SIZE, (file?.size ?? 0) - offset)
    if (file === undefined || size <= 0) return
    const piece = new Uint8Array(size)
    file.readAt(offset, piece)
    offset += size
    yield piece
  }
}
