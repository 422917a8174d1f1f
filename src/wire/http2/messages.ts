/** Requests and responses in the fields of HTTP/2 (RFC 9113, 8): what HTTP/1.1 has in its first line is in fields too. */
import type { Field } from "./hpack.ts"

export interface RequestHead {
  readonly method: string
  readonly path: string
  /** Names in lower case, in their order; the authority is `host`. */
  readonly fields: readonly Field[]
  /** What Content-Length says, bytes. */
  readonly size: number | undefined
}

export interface ResponseHead {
  readonly status: number
  readonly fields: readonly Field[]
}

const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/
/** Also no space at an end. */
const VALUE = /^(?![ \t])[^\0\r\n]*(?<![ \t])$/
const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const TARGET = /^[\x21-\x7e]+$/

/** These are about a connection of HTTP/1.1, and mean that somebody took one for the other. */
const FOREIGN: ReadonlySet<string> = new Set([
  ...["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"],
])

/** Undefined when it is malformed. */
export function requestOf(all: readonly Field[]): RequestHead | undefined {
  const read = readFields(all, [":method", ":scheme", ":authority", ":path"])
  if (read === undefined) return undefined
  const { pseudo, fields } = read
  const [method = "", path = ""] = [pseudo.get(":method"), pseudo.get(":path")]
  if (!METHOD.test(method) || !TARGET.test(path) || !pseudo.has(":scheme")) return undefined
  const authority = pseudo.get(":authority")
  const hosts = fields.filter(([name, value]) => name === "host" && value !== authority)
  const others = fields.filter(([name]) => name !== "host")
  const host: Field[] = authority === undefined ? [] : [["host", authority]]
  const size = sizeOf(fields)
  if (size === null) return undefined
  return { method, path, fields: [...host, ...hosts, ...others], size }
}

/** Undefined when it is malformed. */
export function responseOf(all: readonly Field[]): ResponseHead | undefined {
  const read = readFields(all, [":status"])
  const status = read?.pseudo.get(":status") ?? ""
  if (read === undefined || !/^[1-5]\d\d$/.test(status)) return undefined
  return { status: Number(status), fields: read.fields }
}

interface ReadFields {
  readonly pseudo: ReadonlyMap<string, string>
  readonly fields: readonly Field[]
}

function readFields(all: readonly Field[], known: readonly string[]): ReadFields | undefined {
  const pseudo = new Map<string, string>()
  const fields: Field[] = []
  for (const [name, value] of all) {
    if (!VALUE.test(value)) return undefined
    if (name.startsWith(":")) {
      if (!known.includes(name) || pseudo.has(name) || fields.length > 0) return undefined
      pseudo.set(name, value)
      continue
    }
    if (!NAME.test(name) || FOREIGN.has(name)) return undefined
    if (name === "te" && value !== "trailers") return undefined
    fields.push([name, value])
  }
  return { pseudo, fields }
}

/** Null when several differ, or it is no number. */
function sizeOf(fields: readonly Field[]): number | null | undefined {
  const values = fields.filter(([name]) => name === "content-length").map(([, value]) => value)
  const [first] = values
  if (first === undefined) return undefined
  return values.every((value) => value === first) && /^\d{1,15}$/.test(first) ? Number(first) : null
}
