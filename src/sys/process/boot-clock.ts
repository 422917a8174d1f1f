/**
 * The time since the machine was started, which nobody sets and which goes on while the machine is suspended
 * (CLOCK_BOOTTIME). All processes and threads of a machine read the same time. The call stays in user space.
 */
import { assert } from "../../lib/assert.ts"
import { libc } from "../libc.ts"
import { allocate } from "../memory.ts"

const CLOCK_BOOTTIME = 7

/** struct timespec: seconds, nanoseconds */
const spec = allocate(16)
const words = new Uint32Array(spec.bytes.buffer, spec.bytes.byteOffset, 4)

/** Milliseconds, with fractions. */
export function bootMs(): number {
  const result = libc.clock_gettime(CLOCK_BOOTTIME, spec.address)
  assert(result === 0, "the kernel has this clock since 2.6.39")
  const [low = 0, high = 0, nanos = 0] = words
  return (high * 2 ** 32 + low) * 1000 + nanos / 1e6
}
