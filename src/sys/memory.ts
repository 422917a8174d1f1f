import { assert } from "../lib/assert.ts"
import { errno, libc, memoryAt } from "./libc.ts"

/**
 * Memory with an address, for system calls to read and write.
 *
 * It comes from mmap(2): a small typed array of the JavaScript heap moves, and the kernel would then write somewhere
 * else.
 */
export interface Region {
  readonly address: number
  readonly bytes: Uint8Array
}

const PROT_READ_WRITE = 3
const MAP_PRIVATE_ANONYMOUS = 0x22
const MADV_DONTNEED = 4

/** The regions of this thread. */
const allocated: { readonly address: number; readonly size: number }[] = []

/** Zeroed memory that never moves and lives as long as the thread: allocate it at start, not per request. */
export function allocate(size: number): Region {
  const address = libc.mmap(0, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0)
  assert(address !== -1, `mmap of ${size} bytes: errno ${errno()}`)
  allocated.push({ address, size })
  return { address, bytes: new Uint8Array(memoryAt(address, size)) }
}

/** Gives the content back to the system: the region is zeroed, and holds no memory until it is written to. */
export function empty({ address, bytes }: Region): void {
  libc.madvise(address, bytes.length, MADV_DONTNEED)
}

/**
 * Frees all memory of this thread, which must not use any of it afterwards: the thread ends, and the process goes on.
 */
export function freeMemory(): void {
  for (const { address, size } of allocated.splice(0)) libc.munmap(address, size)
}

/** A part of a region, sharing its memory. */
export function slice(region: Region, offset: number, size = region.bytes.length - offset): Region {
  return { address: region.address + offset, bytes: region.bytes.subarray(offset, offset + size) }
}

/** This many free copies keep their memory, unless they are larger than most. */
const FREE_COPIES_MAX = 16
const COPY_SIZE = 65536

/** Copies that outlive a request. They are reused, since they are never freed. */
export class RegionPool {
  readonly #free: Region[] = []

  /** The first `size` bytes of `from`, until release(). The region may be longer. */
  copy(from: Region, size: number): Region {
    const index = this.#free.findIndex(({ bytes }) => bytes.length >= size)
    const [found] = index < 0 ? [] : this.#free.splice(index, 1)
    const copy = found ?? allocate(Math.max(size, COPY_SIZE))
    copy.bytes.set(from.bytes.subarray(0, size))
    return copy
  }

  release(copy: Region): void {
    if (copy.bytes.length > COPY_SIZE || this.#free.length >= FREE_COPIES_MAX) empty(copy)
    this.#free.push(copy)
  }
}
