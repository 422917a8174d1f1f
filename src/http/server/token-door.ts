/**
 * Asks for the token at the door. A client with a wrong one hears so only after a moment. The log reports it now and
 * then, with a count, because somebody who guesses does not stop.
 */
import type { IncomingMessage } from "node:http"
import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { authorize, showsToken } from "./auth.ts"
import { senderOf } from "./request-log.ts"

const log = logger("http")

const WRONG_MS = 1000
const LOG_MS = 10_000
/** Refused clients that wait for their answer. More get none. */
const WAITING_COUNT_MAX = 500

export class TokenDoor {
  readonly #token: string
  readonly #clock: Clock
  #waitingCount = 0
  #wrongCount = 0 // since the last line in the log
  #isQuiet = false // there was a line just now

  constructor(token: string, clock: Clock) {
    this.#token = token
    this.#clock = clock
  }

  /** Rejects unless the request shows the token. */
  async enter(request: IncomingMessage): Promise<void> {
    const { headers, socket, url } = request
    try {
      authorize(headers, this.#token)
    } catch (error) {
      if (!showsToken(headers)) throw error
      this.#count(senderOf(request).from, url?.slice(0, 100).replace(/\?.*/, ""))
      await this.#wait(socket)
      throw error
    }
  }

  async #wait(socket: IncomingMessage["socket"]): Promise<void> {
    if (this.#waitingCount >= WAITING_COUNT_MAX) {
      socket.destroy()
      throw new LitefsError("unauthorized", "unauthorized")
    }
    this.#waitingCount += 1
    try {
      await sleep(this.#clock, WRONG_MS)
    } finally {
      this.#waitingCount -= 1
    }
  }

  #count(from: string | undefined, path: string | undefined): void {
    this.#wrongCount += 1
    if (!this.#isQuiet) this.#say(from, path)
  }

  #say(from: string | undefined, path: string | undefined): void {
    log.warn("refused requests with a wrong token", { from, path, count: this.#wrongCount })
    this.#wrongCount = 0
    this.#isQuiet = true
    this.#clock.after(LOG_MS, () => {
      this.#isQuiet = false
      if (this.#wrongCount > 0) this.#say(from, path)
    })
  }
}
