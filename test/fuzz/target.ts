import { type ErrorCode, LitefsError } from "../../src/lib/errors.ts"
import { BadMessage } from "../../src/proxy/message-head.ts"
import type { Random } from "../support/random.ts"

/** A parser of bytes that come from outside. */
export interface Target {
  readonly name: string
  /** Good input, or nearly: what is changed, and spliced with each other. The same at each call. */
  seeds(): readonly Uint8Array[]
  /** Parses, and checks what holds of the result. `random` is always the same for an input. */
  run(input: Uint8Array, random: Random): void
  /** Whether this is how the parser refuses input. A target without it throws nothing. */
  readonly refuses?: (error: unknown) => boolean
  /** Makes checksums right that changes have broken, where that is possible, so that they get further. */
  readonly repair?: (input: Uint8Array) => void
  /** Texts that mean something to it. */
  readonly words?: readonly string[]
}

/** Bad bytes: one of ours, which say what was to be done. The engine's own, as "Out of memory", are not. */
export function refusesAsRange(error: unknown): boolean {
  return error instanceof RangeError && error.message.startsWith("Cannot ")
}

/** Bad text. */
export function refusesAsSyntax(error: unknown): boolean {
  return error instanceof SyntaxError && error.message !== ""
}

export function refusesWith(...codes: readonly ErrorCode[]): (error: unknown) => boolean {
  return (error) => error instanceof LitefsError && codes.includes(error.code)
}

export function refusesAsMessage(error: unknown): boolean {
  return error instanceof BadMessage && error.status >= 400
}

const encoder = new TextEncoder()

export function textSeeds(...texts: readonly string[]): readonly Uint8Array[] {
  return texts.map((text) => encoder.encode(text))
}

/** As a socket or a file gives it: what is no UTF-8 becomes a replacement character. */
export function textOf(input: Uint8Array): string {
  return Buffer.from(input).toString("utf8")
}

/** One character per byte. */
export function latin1Of(input: Uint8Array): string {
  return Buffer.from(input).toString("latin1")
}
