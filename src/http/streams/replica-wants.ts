import type { IncomingMessage } from "node:http"
import { DatabaseFilter } from "../../wire/database-filter.ts"
import {
  CAN_RESUME_HEADER,
  decodeResume,
  RESUME_HEADER,
  type ResumePoint,
  WANTS_VERDICTS_HEADER,
} from "../../wire/frame.ts"
import {
  CATALOGUE_HEADER,
  COMPACTED_LTX_HEADER,
  DATABASES_HEADER,
  decodeLeftOut,
  HEADS_HEADER,
  LEFT_OUT_HEADER,
} from "../../wire/protocol.ts"

/** What a replica understands beyond LiteFS's protocol, and which databases it wants, by its request. */
export interface Wants {
  /** One LTX file may hold several transactions. */
  readonly compacted: boolean
  /** It wants to hear how far it is behind. */
  readonly heads: boolean
  readonly databases: DatabaseFilter
  /** It cannot take these for now. */
  readonly leftOut: ReadonlySet<string>
  /** It wants to hear which databases exist. */
  readonly catalogue: boolean
  readonly verdicts: boolean
  readonly canResume: boolean
  /** The snapshot that it has a part of, until the rest is taken up. */
  resume: ResumePoint | undefined
}

export const NO_WANTS: Readonly<Wants> = {
  compacted: false,
  heads: false,
  databases: DatabaseFilter.all,
  leftOut: new Set(),
  catalogue: false,
  verdicts: false,
  canResume: false,
  resume: undefined,
}

/** Throws when the filter is invalid. */
export function wantsOf({ headers, url }: Pick<IncomingMessage, "headers" | "url">): Wants {
  const databases = headers[DATABASES_HEADER]
  const resume = headers[RESUME_HEADER]
  const leftOut = headers[LEFT_OUT_HEADER]
  return {
    compacted: headers[COMPACTED_LTX_HEADER] === "1",
    heads: headers[HEADS_HEADER] === "1",
    databases: typeof databases === "string" ? DatabaseFilter.decode(databases) : queryOf(url),
    leftOut: typeof leftOut === "string" ? decodeLeftOut(leftOut) : new Set(),
    catalogue: headers[CATALOGUE_HEADER] === "1",
    verdicts: headers[WANTS_VERDICTS_HEADER] === "1",
    canResume: headers[CAN_RESUME_HEADER] === "1",
    resume: typeof resume === "string" ? decodeResume(resume) : undefined,
  }
}

/** LiteFS's `?filter=a.db,b.db`: names only. */
function queryOf(url: string | undefined): DatabaseFilter {
  const filter = new URL(url ?? "/", "http://node").searchParams.get("filter")
  return filter ? DatabaseFilter.parse(filter) : DatabaseFilter.all
}
