import type { IncomingMessage } from "node:http"
import {
  CAN_RESUME_HEADER,
  decodeResume,
  RESUME_HEADER,
  type ResumePoint,
  WANTS_VERDICTS_HEADER,
} from "../wire/frame.ts"

/** What a replica knows beyond LiteFS's protocol, by the headers of its request. */
export interface Wants {
  readonly verdicts: boolean
  readonly canResume: boolean
  /** The snapshot that it has a part of, until it has been asked for. */
  resume: ResumePoint | undefined
}

export const NO_WANTS: Readonly<Wants> = { verdicts: false, canResume: false, resume: undefined }

export function wantsOf({ headers }: Pick<IncomingMessage, "headers">): Wants {
  const resume = headers[RESUME_HEADER]
  return {
    verdicts: headers[WANTS_VERDICTS_HEADER] === "1",
    canResume: headers[CAN_RESUME_HEADER] === "1",
    resume: typeof resume === "string" ? decodeResume(resume) : undefined,
  }
}
