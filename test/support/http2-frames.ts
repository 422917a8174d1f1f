/** Frames of HTTP/2 in words, for tests that care for each of them. */
import {
  encodeHttp2Frame,
  encodeSettings,
  Flag,
  FrameReader,
  FrameType,
  PREFACE,
  u32Of,
} from "../../src/wire/http2/frames.ts"
import { encodeFields, type Field, HpackDecoder } from "../../src/wire/http2/hpack.ts"

export { Flag, FrameType, PREFACE }

/** What a client begins with. */
export const HELLO = Buffer.concat([PREFACE, encodeSettings([])])

export const settings = (...pairs: [number, number][]) => encodeSettings(pairs)
export const ping = () => encodeHttp2Frame(FrameType.PING, 0, 0, new Uint8Array(8))
export const reset = (stream: number, code = 8) =>
  encodeHttp2Frame(FrameType.RST_STREAM, 0, stream, u32Of(code))
export const update = (stream: number, more: number) =>
  encodeHttp2Frame(FrameType.WINDOW_UPDATE, 0, stream, u32Of(more))
export const data = (stream: number, size: number, isEnd = false) =>
  encodeHttp2Frame(FrameType.DATA, isEnd ? Flag.END_STREAM : 0, stream, new Uint8Array(size))
export const frame = encodeHttp2Frame

export interface Asked {
  readonly method?: string
  readonly isOpen?: boolean
  readonly fields?: readonly Field[]
}

export function ask(
  stream: number,
  path: string,
  { method = "GET", isOpen = false, fields = [] }: Asked = {},
): Uint8Array {
  const head: Field[] = [
    [":method", method],
    [":scheme", "http"],
    [":authority", "127.0.0.1"],
    [":path", path],
    ...fields,
  ]
  const flags = Flag.END_HEADERS | (isOpen ? 0 : Flag.END_STREAM)
  return encodeHttp2Frame(FrameType.HEADERS, flags, stream, encodeFields(head))
}

/** Each frame as a line: its type in lower case, its stream, and what matters of it. */
export class FrameLines {
  readonly lines: string[] = []
  /** Of a stream: the bytes of its data. */
  readonly sizes = new Map<number, number>()
  readonly #reader = new FrameReader()
  readonly #hpack = new HpackDecoder(65_536)
  readonly #names = new Map(Object.entries(FrameType).map(([name, type]) => [type as number, name]))

  push(bytes: Uint8Array): void {
    this.#reader.push(bytes, ({ type, flags, stream, payload }) => {
      const name = (this.#names.get(type) ?? `type ${type}`).toLowerCase().replace("_stream", "")
      const view = Buffer.from(payload)
      const end = flags & Flag.END_STREAM && type <= FrameType.HEADERS ? " end" : ""
      if (type === FrameType.DATA) {
        this.sizes.set(stream, (this.sizes.get(stream) ?? 0) + payload.length)
      }
      this.lines.push(`${name} ${stream}${this.#about(type, flags, view)}${end}`)
    })
  }

  #about(type: number, flags: number, view: Buffer): string {
    switch (type) {
      case FrameType.DATA:
        return ` ${view.length}`
      case FrameType.HEADERS: {
        const { fields } = this.#hpack.decode(view)
        return ` ${fields.find(([name]) => name === ":status")?.[1] ?? fields.map(([, value]) => value).join(" ")}`
      }
      case FrameType.GOAWAY:
        return ` ${view.readUInt32BE(4)}`
      case FrameType.RST_STREAM:
      case FrameType.WINDOW_UPDATE:
        return ` ${view.readUInt32BE(0)}`
      case FrameType.SETTINGS:
      case FrameType.PING:
        return flags & Flag.ACK ? " ack" : ""
      default:
        return ""
    }
  }
}
