import { type ErrorCode, LitefsError, withoutPaths } from "../../lib/errors.ts"

/** The HTTP status of each condition. */
const STATUS: Record<ErrorCode, number> = {
  usage: 400,
  "name-invalid": 400,
  invalid: 400,
  unauthorized: 401,
  forbidden: 403,
  "not-found": 404,
  "position-mismatch": 409,
  "no-lock": 409,
  "no-primary": 503,
  unavailable: 503,
  damaged: 500,
  unsupported: 500,
  "no-space": 507,
  io: 500,
}

export function statusOf(error: unknown): number {
  if (error instanceof LitefsError) return STATUS[error.code]
  return error instanceof RangeError ? 400 : 500
}

/**
 * What the sender is told. Of what is wrong with this node that it is, no more: neither paths nor what only its log
 * explains.
 */
export function answerOf(error: unknown): string {
  const isTold = error instanceof LitefsError || error instanceof RangeError
  return isTold
    ? withoutPaths(error.message)
    : "Cannot serve this: an error of this node, see its log"
}
