/**
 * The head of an HTTP/1.1 message, read strictly: text that two servers could read in two ways is refused, so that
 * nobody can hide a request in another one (RFC 9112, sections 2, 3, 5, 6 and 11).
 *
 *     method SP target SP "HTTP/1." digit CRLF
 *     *( token ":" OWS value OWS CRLF )
 *     CRLF
 *
 * Refused are: a line that ends in a bare LF, a CR anywhere else, NUL and other control characters, a space before the
 * colon, folded lines, no Host or more than one, and any ambiguity about where the body ends. Text is one character per
 * byte (Latin-1).
 */
export interface Field {
  readonly name: string
  /** The name in lower case. */
  readonly key: string
  readonly value: string
}

export interface RequestHead {
  readonly method: string
  /** The path with its query, or `*`: never a whole URL. */
  readonly target: string
  readonly host: string
  readonly isHttp10: boolean
  readonly fields: readonly Field[]
}

export interface ResponseHead {
  readonly status: number
  readonly statusLine: string
  readonly isHttp10: boolean
  readonly fields: readonly Field[]
}

/** A message that is not passed on. `status` is for the client. */
export class BadMessage extends Error {
  override readonly name = "BadMessage"
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export const HEAD_SIZE_MAX = 64 * 1024
const FIELD_COUNT_MAX = 256

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const NOT_TEXT = /[^\t\x20-\x7e\x80-\xff]/
const REQUEST_LINE =
  /^([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}) ([\x21\x22\x24-\x7e\x80-\xff]+) HTTP\/(\d)\.(\d)$/
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/
const AUTHORITY = /^(?:\[[0-9A-Fa-f:.]+\]|[^\s/?#@[\]:\\]*)(?::\d{0,5})?$/
const ABSOLUTE = /^https?:\/\/([^/?#]+)(\/[^#]*|\?[^#]*)?$/i

/** `text` is everything before the empty line. */
export function parseRequestHead(text: string): RequestHead {
  const lines = text.split("\r\n")
  const [requestLine = ""] = lines
  const match = REQUEST_LINE.exec(requestLine)
  if (match === null) throw new BadMessage(400, "the request line is malformed")
  const [, method = "", written = "", major, minor] = match
  if (major !== "1") throw new BadMessage(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
  const isHttp10 = minor === "0"
  const fields = parseFields(lines)
  const { target, authority } = splitTarget(method, written)
  const host = authority ?? hostOf(fields, isHttp10)
  return { method, target, host, isHttp10, fields }
}

export function parseResponseHead(text: string): ResponseHead {
  const lines = text.split("\r\n")
  const [statusLine = ""] = lines
  const match = STATUS_LINE.exec(statusLine)
  if (match === null) throw new BadMessage(502, "the status line is malformed")
  return {
    status: Number(match[2]),
    statusLine,
    isHttp10: match[1] === "0",
    fields: parseFields(lines),
  }
}

/** Values of all fields of a name, in order. `key` is in lower case. */
export function valuesOf(fields: readonly Field[], key: string): string[] {
  const values: string[] = []
  for (const field of fields) if (field.key === key) values.push(field.value)
  return values
}

/** The items of a list that may be spread over several fields, in lower case. */
export function tokensOf(fields: readonly Field[], key: string): string[] {
  const tokens: string[] = []
  for (const field of fields) {
    if (field.key !== key) continue
    for (const item of field.value.split(",")) {
      const token = item.trim().toLowerCase()
      if (token !== "") tokens.push(token)
    }
  }
  return tokens
}

function parseFields(lines: readonly string[]): Field[] {
  const fields: Field[] = []
  if (lines.length > FIELD_COUNT_MAX) throw new BadMessage(431, "there are too many header fields")
  for (let index = 1; index < lines.length; index++) {
    fields.push(parseField(lines[index] as string))
  }
  return fields
}

function parseField(line: string): Field {
  const colon = line.indexOf(":")
  const name = line.slice(0, colon)
  if (colon < 1 || !TOKEN.test(name)) {
    const isFolded = /^[\t ]/.test(line)
    throw new BadMessage(400, isFolded ? "a header field is folded" : "a header field is malformed")
  }
  if (NOT_TEXT.test(line)) throw new BadMessage(400, "a header field has a control character")
  return { name, key: name.toLowerCase(), value: trimmed(line, colon + 1) }
}

/** Takes off only spaces and tabs: trim() knows more than HTTP does. */
function trimmed(line: string, from: number): string {
  let [start, end] = [from, line.length]
  while (start < end && isBlank(line.charCodeAt(start))) start += 1
  while (end > start && isBlank(line.charCodeAt(end - 1))) end -= 1
  return line.slice(start, end)
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}

function splitTarget(method: string, written: string): { target: string; authority?: string } {
  if (method === "CONNECT") throw new BadMessage(405, "this is no proxy for other hosts")
  if (written.startsWith("/")) return { target: written }
  if (written === "*" && method === "OPTIONS") return { target: written }
  const match = ABSOLUTE.exec(written)
  const authority = match?.[1]
  if (authority === undefined || !AUTHORITY.test(authority)) {
    throw new BadMessage(400, "the request target is malformed")
  }
  const rest = match?.[2] ?? ""
  return { target: rest.startsWith("/") ? rest : `/${rest}`, authority }
}

function hostOf(fields: readonly Field[], isHttp10: boolean): string {
  const hosts = valuesOf(fields, "host")
  if (hosts.length > 1) throw new BadMessage(400, "there is more than one Host")
  const [host] = hosts
  if (host === undefined) {
    if (isHttp10) return ""
    throw new BadMessage(400, "there is no Host")
  }
  if (!AUTHORITY.test(host)) throw new BadMessage(400, "the Host is malformed")
  return host
}
