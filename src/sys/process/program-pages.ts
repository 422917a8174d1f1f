/**
 * Lets go of those pages of the program that the start has touched and nobody needs afterwards: most of the memory that
 * an idle node seems to have. They are clean pages of a file, which stay in the kernel's cache of it, and whoever needs
 * one has it back within a microsecond, without the disk.
 */
import { readFileSync } from "node:fs"
import { libc } from "../libc.ts"

const MADV_DONTNEED = 4

/** A part of the address space. */
export interface Mapping {
  readonly start: number
  readonly size: number
}

/** Does not throw: nothing depends on it. */
export function dropProgramPages(): void {
  try {
    for (const { start, size } of cleanMappings(readFileSync("/proc/self/smaps", "utf8"))) {
      libc.madvise(start, size, MADV_DONTNEED)
    }
  } catch {
    // There is no /proc, or it does not tell.
  }
}

/**
 * Of /proc/<pid>/smaps, those that are of a file, cannot be written, and have no page of their own: what has been
 * written to one before it was made read-only (relocations) is nowhere else, and would be lost.
 */
export function cleanMappings(smaps: string): Mapping[] {
  return smaps
    .split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
    .map((text) => ({ text, head: HEAD.exec(text)?.groups }))
    .filter(({ text, head }) => head !== undefined && /^Anonymous: +0 kB$/m.test(text))
    .map(({ head }) => {
      const [start, end] = [Number(`0x${head?.start}`), Number(`0x${head?.end}`)]
      return { start, size: end - start }
    })
}

/** Address, rights, offset in the file, device, inode. */
const HEAD = /^(?<start>[0-9a-f]+)-(?<end>[0-9a-f]+) r-[x-]p [0-9a-f]+ \S+ [1-9]\d* /
