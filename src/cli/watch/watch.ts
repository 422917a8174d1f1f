/**
 * `litefs info --watch`: the cluster as a node sees it, until Ctrl-C.
 *
 * On a terminal it is drawn anew each time that the node tells something, on a screen of its own, which is gone
 * afterwards. Elsewhere it is a line every LINE_MS. A node that goes away is asked again; one that was never there, or
 * refuses, ends the command.
 */
import { sleep } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { Stopping } from "../command/stopping.ts"
import type { NodeApi } from "../node/api.ts"
import type { CliIo } from "../terminal/io.ts"
import { HIDE_CURSOR, SHOW_CURSOR } from "../terminal/screen.ts"
import { ClusterView } from "./cluster-view.ts"
import { draw, drawLine } from "./draw.ts"

const LINE_MS = 2000
const RETRY_MS = 1000
/** A node tells something every second. */
const SILENT_MS_MAX = 15_000
/** Of one event. */
const EVENT_SIZE_MAX = 16 * 1024 * 1024

const OWN_SCREEN = `\x1b[?1049h${HIDE_CURSOR}`
const OLD_SCREEN = `${SHOW_CURSOR}\x1b[?1049l`

export async function watch(api: NodeApi, io: CliIo): Promise<number> {
  const screen = io.screen(1)
  const drawing = screen === undefined || screen.isDumb ? undefined : screen
  const stopping = new Stopping(io.events)
  const view = new ClusterView()
  let lineMs = Number.NEGATIVE_INFINITY
  const show = (lost?: string) => {
    if (drawing !== undefined) return io.stdout(frame(draw(view, drawing, lost)))
    const nowMs = io.clock.monotonicMs()
    if (nowMs - lineMs < LINE_MS) return
    lineMs = nowMs
    io.stdout(`${drawLine(view, lost)}\n`)
  }
  let isOnOwnScreen = false
  try {
    while (!stopping.signal.aborted) {
      try {
        await follow(api, io, stopping.signal, (event) => {
          view.take(event)
          if (!isOnOwnScreen && drawing !== undefined) io.stdout(OWN_SCREEN)
          isOnOwnScreen = true
          show()
        })
        show(`${api.origin} has ended the connection`)
      } catch (error) {
        if (stopping.signal.aborted) break
        if (view.node === undefined || isRefusal(error)) throw error
        show(messageOf(error))
      }
      await sleep(io.clock, RETRY_MS, stopping.signal).catch(() => {})
    }
    return stopping.exitCode === 130 ? 0 : (stopping.exitCode ?? 0) // Ctrl-C is how it ends
  } finally {
    if (isOnOwnScreen && drawing !== undefined) io.stdout(OLD_SCREEN)
    stopping.end()
  }
}

/** Calls back with each event, until the stream ends. Throws when it cannot be had, or falls silent. */
async function follow(
  api: NodeApi,
  { clock }: CliIo,
  signal: AbortSignal,
  take: (event: string) => void,
): Promise<void> {
  const silence = new AbortController()
  const silent = () =>
    silence.abort(new LitefsError("unavailable", `Cannot follow ${api.origin}: it is silent`))
  let cancel = clock.after(SILENT_MS_MAX, silent)
  try {
    const both = AbortSignal.any([signal, silence.signal])
    const { body } = await api.call("/watch", {}, { signal: both })
    const decoder = new TextDecoder()
    let rest = ""
    for await (const part of (body ?? []) as AsyncIterable<Uint8Array>) {
      cancel()
      cancel = clock.after(SILENT_MS_MAX, silent)
      const events = (rest + decoder.decode(part, { stream: true })).split("\n\n")
      rest = events.pop() ?? ""
      if (rest.length > EVENT_SIZE_MAX) {
        throw new LitefsError(
          "unavailable",
          `Cannot follow ${api.origin}: what it tells has no end`,
        )
      }
      for (const event of events) take(event)
    }
  } catch (error) {
    throw silence.signal.aborted ? silence.signal.reason : error
  } finally {
    cancel()
  }
}

/** The node is there, and does not want to: to ask again would not help. */
function isRefusal(error: unknown): boolean {
  return error instanceof LitefsError && ["usage", "not-found", "unauthorized"].includes(error.code)
}

function frame(lines: readonly string[]): string {
  return `\x1b[H${lines.map((line) => `${line}\x1b[K`).join("\r\n")}\x1b[J`
}
