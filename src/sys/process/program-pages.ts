/**
 * Gives back those pages of the program that the start has touched and nobody needs afterwards: most of the memory that
 * an idle node seems to have. They are clean pages of a file and stay in the kernel's cache. Code that needs one has it
 * back within a microsecond, without the disk.
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
 * The mappings in /proc/<pid>/smaps that map a file, are not writable, and have no page of their own. A page that was
 * written before it became read-only (relocations) exists nowhere else, and would be lost.
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
