/**
 * A primary and a replica behind a bad link, killed and paused, while writers run. When everything is healed, both
 * nodes hold the same bytes and everything that was acknowledged.
 *
 *     writers ─▶ primary ─▶ fault proxy ─▶ replica ◀─ reader
 */
import type { FaultProxy } from "../support/fault-proxy.ts"
import type { TestNode } from "../support/node.ts"
import type { Random } from "../support/random.ts"
import { within } from "./client.ts"
import type { Mode } from "./model.ts"
import { inPair, type Pair } from "./pair.ts"
import { DATABASE, type Result, Round, type Writer } from "./round.ts"

const FIRST_WORD_MS_MAX = 30_000

/** A client of a dead daemon hears of it at its next system call. */
const ERROR_MS_MAX = 3000

/** Longer than a replica waits for a sign of life. */
const LONG_MS = 6000

export interface LinkFaultsOptions {
  readonly random: Random
  readonly mode: Mode
  readonly faults: number
  readonly result: Result
  /** Whether some faults may last until the other side has given up. */
  readonly mayBeLong: boolean
}

export async function linkFaults(options: LinkFaultsOptions): Promise<void> {
  const run = async (pair: Pair) => {
    const { random, mode, faults, result } = options
    const round = new Round(pair, random, mode)
    const trouble = new Trouble(round, pair.link as FaultProxy, options)
    try {
      await round.setUp()
      await pair.settled(DATABASE)
      await trouble.write()
      for (let fault = 0; fault < faults; fault++) {
        await trouble.make()
        result.kills += 1
      }
      await trouble.end()
      await round.check()
      result.acknowledged += round.acknowledgedCount
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      throw new Error(`${message}\nafter: ${trouble.done.slice(-20).join(", ")}`)
    } finally {
      trouble.heal()
      await round.end()
    }
  }
  return inPair(`links-${options.mode}`, run, { isLinked: true })
}

class Trouble {
  /** What was done, for the report of a failure. */
  readonly done: string[] = []
  readonly #round: Round
  readonly #link: FaultProxy
  readonly #options: LinkFaultsOptions
  #writer: Writer | undefined

  constructor(round: Round, link: FaultProxy, options: LinkFaultsOptions) {
    this.#round = round
    this.#link = link
    this.#options = options
  }

  /** A writer, when there is none that still writes. */
  async write(): Promise<void> {
    if (this.#writer !== undefined && !this.#writer.client.hasEnded) return
    await this.#collect()
    this.#writer = this.#round.startWriter()
    await this.#writer.client.heard(/^ack/, FIRST_WORD_MS_MAX)
  }

  async make(): Promise<void> {
    const { random, pair } = this.#round
    await this.write()
    const kinds = ["cut", "plan", "hold", "slow", "half", "refuse", "pause", "kill"] as const
    const kind = random.pick(kinds)
    this.done.push(kind)
    switch (kind) {
      case "cut":
        this.#link.cut()
        break
      case "plan":
        for (let attempt = random.between(1, 3); attempt > 0; attempt--) {
          const byte = random.below(random.pick([400, 5000, 300_000]))
          this.#link.plan({ byte, how: random.pick(["cut", "truncate"]) })
          this.#link.cut()
          await this.#pause()
        }
        break
      case "hold":
        this.#link.hold()
        await this.#pause()
        break
      case "slow":
        this.#link.delayMs = random.below(200)
        this.#link.bytesPerSecond = random.pick([1000, 20_000, 500_000])
        await this.#pause()
        break
      case "half":
        this.#link.halfClose(random.pick(["up", "down"]))
        break
      case "refuse":
        this.#link.refuse()
        this.#link.cut()
        await this.#pause()
        break
      case "pause": {
        const node = random.pick([pair.primary, pair.replica])
        node.signal("SIGSTOP")
        await this.#pause()
        node.signal("SIGCONT")
        break
      }
      case "kill":
        await this.#kill(random.pick([pair.primary, pair.replica, pair.replica]))
    }
    // Half of the time the next fault comes on top.
    if (random.below(2) === 0) this.heal()
    await Bun.sleep(random.below(random.pick([20, 300])))
  }

  heal(): void {
    this.#link.heal()
    // One that a held link has left hanging is noticed after seconds; here it is to be now.
    this.#link.cut()
  }

  async end(): Promise<void> {
    this.heal()
    await this.#writer?.client.kill()
    await this.#collect()
  }

  async #kill(node: TestNode): Promise<void> {
    const { pair } = this.#round
    await pair.kill(node)
    if (node === pair.replica) {
      pair.restartReplica()
    } else {
      if (this.#writer !== undefined) await within(ERROR_MS_MAX, this.#writer.client.exited)
      await this.#collect()
      pair.restartPrimary()
    }
    await pair.ready()
  }

  async #collect(): Promise<void> {
    if (this.#writer === undefined) return
    await this.#writer.client.kill()
    this.#round.collect(this.#writer)
    this.#writer = undefined
  }

  async #pause(): Promise<void> {
    const { random } = this.#round
    const isLong = this.#options.mayBeLong && random.below(8) === 0
    await Bun.sleep(isLong ? LONG_MS : random.below(random.pick([50, 400])))
  }
}
