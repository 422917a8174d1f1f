/**
 * Whether this node is where it tells others to reach it. In a `litefs.yml` that all nodes share, `advertise-url` is
 * the primary's, and without `candidate` in it every node takes itself for the primary.
 *
 *   who answers there                            this node, which is the primary by its flags
 *   this node                                    is what it says
 *   another that is a primary                    does not start, or ends: whoever follows that URL, follows that one
 *   another that is none, something else         warns: it cannot be reached there
 *   nobody                                       warns, and asks again: the other primary may be away
 *
 * A record that names the primary settles everything: nobody is asked then.
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { inTime } from "../../lib/until.ts"
import { connectProblem } from "../connect-problem.ts"
import type { PeerAnswer, PeerCalls } from "./peer-check.ts"

const log = logger("member")

/** By then nobody waits for its start any more. */
const ANSWER_MS_MAX = 3000
const ASK_AGAIN_MS = 5000

export interface AdvertisedUrlOptions extends Pick<PeerCalls, "ask"> {
  /** As the user gave it; undefined when this node has made it up. */
  readonly url: string | undefined
  readonly id: string
  readonly clock: Clock
  /** Whether only its flags make this node the primary. */
  isPrimaryByFlag(): boolean
}

export class AdvertisedUrl {
  readonly #options: AdvertisedUrlOptions
  readonly #closing = new AbortController()
  #isOurs = false

  constructor(options: AdvertisedUrlOptions) {
    this.#options = options
  }

  /** Runs at the start. Throws when another primary answers there. */
  async check(): Promise<void> {
    const { url } = this.#options
    const problem = await this.#look()
    if (problem === undefined) return
    log.warn(
      "other nodes cannot reach this one at the URL that it advertises, check --advertise-url",
      {
        ...{ url, problem },
      },
    )
  }

  /** Watches from then on, until this node has answered there. Calls back when another primary does. */
  watch(found: (problem: LitefsError) => void): void {
    void this.#watch().catch((error) => {
      if (!this.#closing.signal.aborted) found(error)
    })
  }

  close(): void {
    this.#closing.abort()
  }

  async #watch(): Promise<void> {
    const { clock } = this.#options
    while (this.#isWanted) {
      await sleep(clock, ASK_AGAIN_MS, this.#closing.signal)
      await this.#look()
    }
  }

  get #isWanted(): boolean {
    return this.#options.url !== undefined && !this.#isOurs && this.#options.isPrimaryByFlag()
  }

  /**
   * Why this node does not answer there; undefined when it does, or when that does not matter. Throws when another
   * primary does.
   */
  async #look(): Promise<string | undefined> {
    const { url, id } = this.#options
    if (url === undefined || !this.#isWanted) return undefined
    let answer: PeerAnswer
    try {
      answer = await this.#answerOf(url)
    } catch (error) {
      return connectProblem(url, error).message
    }
    this.#isOurs = answer.id === id
    if (this.#isOurs || !this.#options.isPrimaryByFlag()) return undefined
    if (answer.id === undefined) return "what answers there is not LiteFS"
    if (!isPrimary(answer)) return "another node answers there"
    throw new LitefsError(
      "unavailable",
      `Cannot be the primary: another node is the primary at ${url}, where this one tells others to reach it: ` +
        `this one should be its replica, with --primary-url ${url}, or candidate: false in litefs.yml, ` +
        "or have an --advertise-url of its own",
    )
  }

  #answerOf(url: string): Promise<PeerAnswer> {
    const { clock, ask } = this.#options
    const late = () => new LitefsError("unavailable", "nobody answers there")
    return inTime(ask(url), { clock, limitMs: ANSWER_MS_MAX }, late)
  }
}

function isPrimary({ id, lease, isPrimaryByFlag }: PeerAnswer): boolean {
  return isPrimaryByFlag || (id !== undefined && lease?.record.primary.id === id)
}
