/**
 * Room for the connections of a listener: for so many, and only while a few more files could be opened. Who waits for
 * nothing but its client gives way to who comes. The log says once who that is, and again when there was room in between,
 * as far as its lines are bounded.
 *
 * While no file can be opened and nobody can give way, no listener of the process accepts (listeners.ts): it would try
 * again and again, and do nothing else. Who comes waits in the kernel's queue.
 */
import type { Clock } from "../../lib/clock.ts"
import { LineLimit, type LogFields, type Logger } from "../../lib/log.ts"
import { Errno } from "../errno.ts"
import { canOpen, makeRoom, refillSpares } from "../spare-descriptors.ts"
import { findListeners, holdListeners, releaseListeners } from "./listeners.ts"
import { type Guest, Room } from "./room.ts"

const LOOK_MS = 1000
/** While few more files can be opened. */
const LOOK_SHORT_MS = 100

export interface ConnectionRoomOptions {
  readonly countMax: number
  /** While fewer files than that can be opened, connections that do nothing give way. */
  readonly descriptorsLeft: number
  /** Whether who comes is taken all the same, to the last descriptor and the spare ones: to be told what is wrong. */
  readonly takesLast: boolean
  /** Whether who comes is refused while all others have been idle since a later time than now, or never are. */
  readonly sparesBusy: boolean
  readonly clock: Clock
  readonly log: Logger
}

export class ConnectionRoom<T extends Guest> {
  readonly #options: ConnectionRoomOptions
  readonly #room: Room<T>
  readonly #limit: LineLimit
  #isCrowded = false
  #isShort = false // of descriptors
  #stopLooking: () => void = () => {}

  constructor(options: ConnectionRoomOptions) {
    this.#options = options
    this.#room = new Room(options.countMax)
    this.#limit = new LineLimit(options.clock)
  }

  get size(): number {
    return this.#room.size
  }

  [Symbol.iterator](): Iterator<T> {
    return this.#room[Symbol.iterator]()
  }

  /** Calls back about every second, or more often, until close(). */
  watch(look: (nowMs: number) => void): void {
    const { clock, countMax, descriptorsLeft } = this.#options
    this.#stopLooking = clock.after(this.#isShort ? LOOK_SHORT_MS : LOOK_MS, () => {
      refillSpares()
      this.#makeDescriptors(1)
      this.#acceptOrHold()
      this.#isShort = !canOpen(descriptorsLeft)
      if (this.#room.size < countMax && !this.#isShort) this.#isCrowded = false
      this.watch(look)
      look(clock.monotonicMs())
    })
  }

  close(): void {
    this.#stopLooking()
  }

  /** It comes from an address. False: the connection is to be broken. */
  enter(guest: T, from: string): boolean {
    const { countMax, descriptorsLeft } = this.#options
    const isFull = this.#room.size >= countMax
    if (isFull) this.#say("there are as many as are taken", { countMax, from })
    if (!this.#makeDescriptors(descriptorsLeft, from)) return false
    const hasEntered = this.#room.enter(guest, this.#idleUntilMs)
    if (hasEntered) this.#acceptOrHold()
    return hasEntered
  }

  leave(guest: T): void {
    this.#room.leave(guest)
  }

  get #idleUntilMs(): number {
    const { sparesBusy, clock } = this.#options
    return sparesBusy ? clock.monotonicMs() : Number.POSITIVE_INFINITY
  }

  /** False when fewer files than `count` can be opened, and nobody could give way. */
  #makeDescriptors(count: number, from?: string): boolean {
    for (let tries = 0; tries <= count; tries++) {
      if (canOpen(count)) return true
      this.#say("no more files can be opened, raise the limit (ulimit -n)", { from })
      if (!this.#room.makeRoom(this.#idleUntilMs)) break
    }
    // One is for the next connection: it is accepted before anybody can refuse it.
    return this.#options.takesLast && (canOpen(1) || makeRoom("accept", Errno.EMFILE))
  }

  #acceptOrHold(): void {
    const { log } = this.#options
    if (canOpen(1)) {
      findListeners()
      const said = releaseListeners() ? this.#limit.take("again") : undefined
      if (said !== undefined) log.info("accepts connections again", said)
      return
    }
    const said = holdListeners() ? this.#limit.take("none") : undefined
    const problem = "no more files can be opened, raise the limit (ulimit -n)"
    if (said !== undefined) log.warn(`accepts no connections: ${problem}`, said)
  }

  #say(problem: string, about: LogFields): void {
    if (this.#isCrowded) return
    this.#isCrowded = true
    const said = this.#limit.take(Object.values({ problem, ...about }).join(" "))
    if (said === undefined) return
    const message = `breaks connections that do nothing, or that come: ${problem}`
    this.#options.log.warn(message, { ...about, ...said })
  }
}
