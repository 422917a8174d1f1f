/**
 * The current request. Its records are views of one buffer, bound to their places once; the opcode decides which of
 * them mean something. The next request overwrites all of it.
 */
import { assert } from "../lib/assert.ts"
import type { ViewOf } from "../lib/struct.ts"
import type { Region } from "../sys/memory.ts"
import type { AttributeChange, Caller, LockOwner } from "./filesystem.ts"
import { NameDecoder } from "./names.ts"
import {
  BatchForgetIn,
  CreateIn,
  FallocateIn,
  FlushIn,
  ForgetIn,
  ForgetOne,
  FsyncIn,
  InHeader,
  InitIn,
  InterruptIn,
  LkIn,
  OpenIn,
  ReadIn,
  ReleaseIn,
  Rename2In,
  RenameIn,
  readChange,
  SetattrIn,
  WriteIn,
} from "./requests.ts"

const BODY = InHeader.size

export class Request {
  /** Bytes of the request in the buffer; beyond lie remains of earlier requests. */
  length = 0

  readonly header
  readonly init
  readonly forget
  readonly batchForget
  readonly setattr
  readonly open
  readonly create
  readonly release
  readonly flush
  readonly read
  readonly write
  readonly fallocate
  readonly fsync
  readonly lk
  readonly interrupt
  readonly rename
  readonly rename2

  /** What follows the record of a WRITE. */
  readonly data: Region

  /** The names that follow the record; undefined when the bytes are not UTF-8. */
  name: string | undefined
  newName: string | undefined

  readonly #caller: Caller = { pid: 0, uid: 0, gid: 0 }
  readonly #change: AttributeChange = {
    size: undefined,
    handle: undefined,
    mode: undefined,
    uid: undefined,
    gid: undefined,
  }
  readonly #forgetOne
  readonly #names: NameDecoder

  constructor({ address, bytes }: Region) {
    assert(address % 4 === 0, `Cannot read requests at address ${address}: it is not aligned`)
    const dataOffset = BODY + WriteIn.size
    this.header = InHeader.view(bytes)
    this.init = InitIn.view(bytes, BODY)
    this.forget = ForgetIn.view(bytes, BODY)
    this.batchForget = BatchForgetIn.view(bytes, BODY)
    this.setattr = SetattrIn.view(bytes, BODY)
    this.open = OpenIn.view(bytes, BODY)
    this.create = CreateIn.view(bytes, BODY)
    this.release = ReleaseIn.view(bytes, BODY)
    this.flush = FlushIn.view(bytes, BODY)
    this.read = ReadIn.view(bytes, BODY)
    this.write = WriteIn.view(bytes, BODY)
    this.fallocate = FallocateIn.view(bytes, BODY)
    this.fsync = FsyncIn.view(bytes, BODY)
    this.lk = LkIn.view(bytes, BODY)
    this.interrupt = InterruptIn.view(bytes, BODY)
    this.rename = RenameIn.view(bytes, BODY)
    this.rename2 = Rename2In.view(bytes, BODY)
    this.data = { address: address + dataOffset, bytes: bytes.subarray(dataOffset) }
    this.#forgetOne = ForgetOne.view(bytes)
    this.#names = new NameDecoder(bytes)
  }

  /** Bytes after the header. */
  get bodySize(): number {
    return this.length - BODY
  }

  get caller(): Caller {
    this.#caller.pid = this.header.pid
    this.#caller.uid = this.header.uid
    this.#caller.gid = this.header.gid
    return this.#caller
  }

  get change(): AttributeChange {
    readChange(this.setattr, this.#change)
    return this.#change
  }

  /** One record of a BATCH_FORGET. */
  forgetAt(index: number): ViewOf<typeof ForgetOne> {
    return this.#forgetOne.at(BODY + BatchForgetIn.size + index * ForgetOne.size)
  }

  /** Decodes the `count` (0, 1 or 2) names that must follow a record of `recordSize` bytes. */
  decodeNames(recordSize: number, count: number): "decoded" | "missing" | "not UTF-8" {
    if (count === 0) return "decoded"
    const next = this.#names.decode(BODY + recordSize, this.length)
    if (next === 0) return "missing"
    this.name = this.#names.name
    if (count === 1) return this.name === undefined ? "not UTF-8" : "decoded"
    if (this.#names.decode(next, this.length) === 0) return "missing"
    this.newName = this.#names.name
    return this.name === undefined || this.newName === undefined ? "not UTF-8" : "decoded"
  }
}

/** Two halves as one value that can be a key. Allocates: for rare requests. */
export function join64(lo: number, hi: number): LockOwner {
  return (BigInt(hi) << 32n) | BigInt(lo)
}
