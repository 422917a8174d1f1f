/**
 * The lines of the log that a request causes: they say who has sent it, and are bounded, since anybody may send it again
 * and again.
 *
 *   from   the address, or "local" for a process that came by the socket of this machine
 *   node   the name that it gives itself, or its id: nobody has proven it
 */
import type { IncomingMessage } from "node:http"
import { type Clock, systemClock } from "../../lib/clock.ts"
import { LineLimit, type LogFields, type LogLevel, logger } from "../../lib/log.ts"

/** What is kept of a request when its client may have gone. */
export interface Sender {
  readonly from: string
  readonly node: string | undefined
}

export function senderOf({ headers, socket }: Pick<IncomingMessage, "headers" | "socket">): Sender {
  const { "litefs-hostname": name, "litefs-id": id } = headers
  const isName = typeof name === "string" && /^[^\s\p{Cc}]{1,255}$/u.test(name)
  const isId = typeof id === "string" && /^[0-9a-f]{16}$/i.test(id)
  return {
    // Of a client that has gone there is no socket any more. A socket of both kinds has IPv4 as IPv6.
    from: socket?.remoteAddress?.replace(/^::ffff:(?=[\d.]+$)/, "") ?? "local",
    node: isName ? name : isId ? id : undefined,
  }
}

export class RequestLog {
  readonly #log: ReturnType<typeof logger>
  readonly #limit: LineLimit

  constructor(tag: string, clock: Clock = systemClock) {
    this.#log = logger(tag)
    this.#limit = new LineLimit(clock)
  }

  say(level: LogLevel, message: string, sender: Sender, fields: LogFields = {}): void {
    const said = this.#limit.take([message, sender.from, ...Object.values(fields)].join(" "))
    if (said !== undefined) this.#log[level](message, { ...fields, ...sender, ...said })
  }
}
