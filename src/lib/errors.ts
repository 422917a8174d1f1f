/**
 * Conditions of the world that code reacts to.
 *
 * `code` is for machines: one table turns it into an errno (`mount/databases/errno.ts`), one into an HTTP status
 * (`http/server/status.ts`), one into an exit code (`main.ts`). `message` is for people, in the form
 * `Cannot <do what>: <what is>, <what should be>`.
 */
export type ErrorCode =
  | "usage" // the command line is wrong: exit code 2
  | "unauthorized" // a request without the token of the node
  | "forbidden" // a request whose sender may not make it, such as a web page
  | "not-found"
  | "name-invalid" // not a name a database can have
  | "no-primary"
  | "no-lock" // somebody else has the halt lock of a database
  | "position-mismatch" // a transaction does not follow on the position of the database
  | "invalid" // bytes that somebody has sent and that fail their own checksum, or cannot be what they say
  | "damaged" // bytes on this node's disk that fail their own checksum
  | "unsupported"
  | "unavailable" // a missing or busy device, port, directory or peer
  | "no-space"
  | "io"

export class LitefsError extends Error {
  override readonly name = "LitefsError"
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/** What to print for a thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The thrown value, as an error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}

/** A path that starts at the root, in quotes as messages have it, or alone. */
const QUOTED = /(["'])\/(?:(?!\1).)*?([^"'/]+)\/?\1/g
const BARE = /(?<=^|[\s(=])\/(?:[^\s"'/]+\/)+([^\s"'/]*)/g

/** The same, with the last name of each path alone: where a machine keeps its files is nobody else's business. */
export function withoutPaths(text: string): string {
  return text.replace(QUOTED, "$1$2$1").replace(BARE, "$1")
}

/** A text as a word of a command line that a message tells people to run: quoted where it must be. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
