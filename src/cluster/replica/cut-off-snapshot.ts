/**
 * A snapshot that a broken connection has cut off, on the side that receives it.
 *
 *   arriving ── the connection breaks ──▶ cut off ── the primary has kept it: "resuming" ──▶ arriving
 *                                            └── any other file of it comes first ──▶ given up
 *
 * The request of the next connection names the snapshot and says how much has come (wire/frame.ts, encodeResume). These
 * bytes are verified as far as they go: LTX files are verified page by page as they arrive.
 */
import {
  CAN_RESUME_HEADER,
  encodeResume,
  RESUME_HEADER,
  type ResumableFrame,
  type ResumePoint,
  type ResumingFrame,
  WANTS_VERDICTS_HEADER,
} from "../../wire/frame.ts"

/** `offset` is how much has come. */
export interface CutOffSnapshot extends ResumePoint {
  /** The sink's number of the file. */
  readonly file: number
  readonly applied: Promise<void>
}

/** What this node knows beyond LiteFS's protocol, as headers of its request. */
export function extraHeaders(cutOff: CutOffSnapshot | undefined): Record<string, string> {
  const resume = cutOff === undefined ? {} : { [RESUME_HEADER]: encodeResume(cutOff) }
  return { [WANTS_VERDICTS_HEADER]: "1", [CAN_RESUME_HEADER]: "1", ...resume }
}

/** Whether the file that begins after this frame is the rest of the snapshot. */
export function goesOn(
  cutOff: CutOffSnapshot,
  database: string,
  frame: ResumableFrame | ResumingFrame | undefined,
): boolean {
  return (
    frame?.type === "resuming" &&
    database === cutOff.database &&
    frame.database === database &&
    frame.token === cutOff.token &&
    frame.offset === cutOff.offset
  )
}
