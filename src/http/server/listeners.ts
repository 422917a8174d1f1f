/** Responses that go on for as long as somebody listens, and all get the same. Who does not read is cut off. */
import type { ServerResponse } from "node:http"
import type { RequestLog, Sender } from "./request-log.ts"

export interface ListenersOptions {
  /** Bytes that may wait for one listener. */
  readonly waitingSizeMax: number
  readonly log: RequestLog
  /** Said of one that is cut off. */
  readonly cutOff: string
}

export class Listeners {
  readonly #options: ListenersOptions
  readonly #listeners = new Map<ServerResponse, Sender>()

  constructor(options: ListenersOptions) {
    this.#options = options
  }

  get count(): number {
    return this.#listeners.size
  }

  add(response: ServerResponse, sender: Sender): void {
    this.#listeners.set(response, sender)
  }

  remove(response: ServerResponse): void {
    this.#listeners.delete(response)
  }

  send(text: string): void {
    const { waitingSizeMax, log, cutOff } = this.#options
    for (const [response, sender] of [...this.#listeners]) {
      response.write(text)
      if (response.writableLength <= waitingSizeMax) continue
      log.say("warn", cutOff, sender)
      this.remove(response)
      response.destroy()
    }
  }
}
