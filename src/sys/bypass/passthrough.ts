/**
 * Files that the kernel reads, writes and maps by itself, without a request: an open is answered with FOPEN_PASSTHROUGH
 * and the number of a backing file, which the kernel is told of before (Linux 6.9, CAP_SYS_ADMIN).
 *
 *   open(fd) ─▶ a number, for every open of the file ─▶ close(number), when nobody has the file open
 *
 * All opens of a file at a time are of one kind: the kernel refuses with EIO to open a file past its cache while
 * somebody has it open through the cache, and the other way round.
 */
import { ioctlDevice } from "../device.ts"
import type { Fd } from "../file.ts"
import { allocate } from "../memory.ts"

/** _IOW(229, 1, struct fuse_backing_map): i32 fd@0, u32 flags@4, u64 padding@8. Returns the number. */
const BACKING_OPEN = 0x4010e501
/** _IOW(229, 2, u32): the number. */
const BACKING_CLOSE = 0x4004e502

export class Passthrough {
  readonly #device: Fd
  readonly #argument = allocate(4096)
  readonly #view: DataView

  constructor(device: Fd) {
    this.#device = device
    this.#view = new DataView(this.#argument.bytes.buffer, this.#argument.bytes.byteOffset)
  }

  /** The number of a file, or a negative errno: EPERM without the capability, ELOOP for a file of overlayfs. */
  open(fd: Fd): number {
    this.#view.setInt32(0, fd, true)
    this.#view.setUint32(4, 0, true)
    this.#view.setBigUint64(8, 0n, true)
    return ioctlDevice(this.#device, BACKING_OPEN, this.#argument.address)
  }

  close(number: number): void {
    this.#view.setUint32(0, number, true)
    ioctlDevice(this.#device, BACKING_CLOSE, this.#argument.address)
  }
}
