import type { FileSystem } from "../../src/fuse/filesystem.ts"
import { InitFlag } from "../../src/fuse/flags.ts"
import { Opcode } from "../../src/fuse/opcodes.ts"
import { OutHeader } from "../../src/fuse/replies.ts"
import { InHeader, InitIn } from "../../src/fuse/requests.ts"
import {
  FuseServer,
  type FuseServerOptions,
  REPLY_SIZE,
  REQUEST_SIZE,
} from "../../src/fuse/server.ts"
import type { Fields, Struct, View } from "../../src/lib/struct.ts"
import { SysError } from "../../src/sys/errno.ts"
import type { Region } from "../../src/sys/memory.ts"
import { fakeFileSystem } from "./fake-filesystem.ts"

/** Everything a kernel may offer: the flags of Linux 6.18 (protocol 7.45). */
export const OFFERED = {
  major: 7,
  minor: 45,
  maxReadahead: 131072,
  flags: 0x73fffffb,
  flags2: 0x5fd,
}

export interface ReceivedReply {
  unique: number
  error: number
  payload: Uint8Array
}

export type RequestParts = {
  nodeId?: number
  unique?: number
  uniqueHi?: number
  pid?: number
  record?: Uint8Array
  names?: (string | Uint8Array)[]
  data?: Uint8Array
}

/** The other end of the protocol: sends requests to a FuseServer and takes its replies apart. */
export class FakeKernel {
  readonly server: FuseServer
  readonly request: Region
  readonly reply: Region
  readonly later: ReceivedReply[] = [] // replies to deferred requests, in order
  readonly faults: unknown[] = []
  #nextUnique = 2

  constructor(fileSystem: Partial<FileSystem> = {}, options: Partial<FuseServerOptions> = {}) {
    this.request = { address: 0, bytes: new Uint8Array(REQUEST_SIZE) }
    this.reply = { address: 0, bytes: new Uint8Array(REPLY_SIZE) }
    this.server = new FuseServer({
      fileSystem: fakeFileSystem(fileSystem),
      errnoOf: (error) => (error instanceof SysError ? error.errno : 5),
      send: ({ bytes }, size) => this.later.push(decodeReply(bytes, size)),
      onFault: (error) => this.faults.push(error),
      request: this.request,
      reply: this.reply,
      negativeTimeout: 10,
      ...options,
    })
  }

  /** A kernel that has had its INIT answered. */
  static started(
    fileSystem: Partial<FileSystem> = {},
    options: Partial<FuseServerOptions> = {},
    offered: Partial<typeof OFFERED> = {},
  ): FakeKernel {
    const kernel = new FakeKernel(fileSystem, options)
    kernel.ask(Opcode.INIT, { record: record(InitIn, { ...OFFERED, ...offered }) })
    return kernel
  }

  /** Sends a request. Undefined: there was no reply, or not yet. */
  send(opcode: number, parts: RequestParts = {}): ReceivedReply | undefined {
    return this.sendBytes(this.encode(opcode, parts))
  }

  /** Sends a request that is answered at once. */
  ask(opcode: number, parts: RequestParts = {}): ReceivedReply {
    const reply = this.send(opcode, parts)
    if (reply === undefined) throw new Error(`No reply to opcode ${opcode}`)
    return reply
  }

  sendBytes(bytes: Uint8Array): ReceivedReply | undefined {
    this.request.bytes.set(bytes)
    const size = this.server.handle(bytes.length)
    return size === 0 ? undefined : decodeReply(this.reply.bytes, size)
  }

  encode(opcode: number, parts: RequestParts = {}): Uint8Array {
    const { nodeId = 1, pid = 123, uniqueHi = 0, names = [] } = parts
    const { unique = this.#nextUnique, record = new Uint8Array(), data = new Uint8Array() } = parts
    this.#nextUnique += 2
    const encodedNames = names.map((name) =>
      Buffer.concat([typeof name === "string" ? Buffer.from(name) : name, Buffer.from([0])]),
    )
    const bytes = Buffer.concat([Buffer.alloc(InHeader.size), record, ...encodedNames, data])
    const copy = new Uint8Array(Math.ceil(bytes.length / 4) * 4)
    copy.set(bytes)
    const header = InHeader.view(copy)
    Object.assign(header, { len: bytes.length, opcode, uniqueLo: unique, uniqueHi, nodeId })
    Object.assign(header, { uid: 1000, gid: 1001, pid })
    return copy.subarray(0, bytes.length)
  }
}

function decodeReply(bytes: Uint8Array, size: number): ReceivedReply {
  const header = OutHeader.view(bytes)
  if (header.len !== size) throw new Error(`Reply of ${size} bytes says it has ${header.len}`)
  return {
    unique: header.uniqueLo,
    error: header.error,
    payload: bytes.slice(OutHeader.size, size),
  }
}

/** The bytes of a record with the given fields; the others are zero. */
export function record<F extends Fields>(
  type: Struct<F>,
  fields: Partial<Omit<View<F>, "at" | "clear">>,
): Uint8Array {
  const bytes = new Uint8Array(type.size)
  Object.assign(type.view(bytes), fields)
  return bytes
}

/** The fields of a record. */
export function fieldsOf<F extends Fields>(type: Struct<F>, bytes: Uint8Array, offset = 0) {
  const view = type.view(bytes.slice(offset, offset + type.size))
  const names = Object.keys(Object.getOwnPropertyDescriptors(Object.getPrototypeOf(view)))
  const fields = names.filter((name) => name !== "constructor")
  return Object.fromEntries(fields.map((name) => [name, view[name as keyof typeof view]]))
}

/** Offered by a kernel that opens directories. */
export const WITHOUT_OPENLESS_DIRECTORIES = {
  flags: OFFERED.flags & ~InitFlag.NO_OPENDIR_SUPPORT,
}
