/**
 * The port between two threads. Each side has a contract, an interface of what it does for the other
 * (mount/contract.ts, peer/contract.ts). Its methods are reached in three ways:
 *
 *   await port.call("lend", "db")       ── ["lend", 7, "db"] ──────▶  lend("db") is answered with what it returns
 *                                       ◀───── ["=", 7, handover] ──
 *   port.ask("publish", "db", then)     the same for a thread without an event loop, which can await nothing:
 *                                       `then` is called with the outcome, while the answer is taken
 *   port.tell("open")                   ── ["open", 0] ────────────▶  open(), and nobody hears how it went
 *
 * An error crosses as its code and message. When the other side has died, close() fails everything unanswered and all
 * later calls; nothing is sent any more.
 *
 * The port does not care how a message gets to the other side, but the order must hold. The threads rely on this:
 *
 * 1. Messages of one side arrive in the order in which they were sent, whether told, called, asked, or answers. What a
 *    thread tells before it answers is therefore known before the answer: `refused` before a hand-over, `ltxUsage`
 *    before the count of `maintain`, the last part of a snapshot before its end, `failed` before everything that fails
 *    for it; and `unmounted` comes before `stopped`.
 * 2. One message begins after the other: a method runs up to its first await before the next message is taken. That is
 *    how the parts of an LTX file are put together, and `judge` is known at the first of them. Answers may come in
 *    another order than their questions: an LTX file of one database does not wait for another's.
 * 3. A message is sent when call(), ask() or tell() returns, not later. `closing` is therefore before the `giveBack`
 *    that follows, and the caller may change afterwards what was sent.
 * 4. Through the mailbox of the fs thread (sys/mailbox.ts) 1. holds for each of the two sending threads. It also holds
 *    where one of them has heard from the other: what the peer thread tells the fs thread before it answers the main
 *    thread arrives before what the main thread says upon that answer. `dropped` and `staleWriter` are known before
 *    `inherit`.
 * 5. The fs thread takes its messages before the next request (fuse/session.ts): a thread that tells it something and
 *    then uses the mount finds it known, at the second request at the latest (peer/receive/file-switch.ts).
 * 6. The fs thread asks the peer thread directly what its clients wait for (mount/contract.ts, FsPeer). Between these
 *    messages and all others there is no order.
 * 7. What shares memory goes beside the mailbox, and is there when its place in the mailbox is reached
 *    (mount/fs-mailbox.ts): 1. holds for it, too.
 */
import { MessagePort } from "node:worker_threads"
import { type ErrorCode, LitefsError } from "./errors.ts"
import { done, failed, type Outcome, outcomeOf, resultOf } from "./outcome.ts"

/**
 * A name, a number for the answer to bear (0: no answer is wanted), and the arguments. It is a flat array: the runtime
 * copies that fastest, and each commit sends a few.
 */
export type Message = readonly [name: string, number: number, ...given: unknown[]]

/** Marks an answer, in place of a name. */
const DONE = "="
export const FAILED = "!"

type Given<Method> = Method extends (...given: infer T) => unknown ? T : never

type Returned<Method> = Method extends (...given: never) => infer T ? T : never

type Name<Contract> = keyof Contract & string

/** A told method may not return anything: nobody would get it. */
type Told<Contract> = {
  [K in Name<Contract>]: Returned<Contract[K]> extends void ? K : never
}[Name<Contract>]

/** How a side fulfils its contract. A rejected promise is answered like a thrown error. */
export type Offers<Contract> = {
  readonly [K in keyof Contract]: (
    ...given: Given<Contract[K]>
  ) => Returned<Contract[K]> | Promise<Returned<Contract[K]>> | Later<Returned<Contract[K]>>
}

/** An answer that comes later, from a thread whose promises no longer resolve. */
export class Later<T> {
  readonly begin: (answer: (value: T) => void, fail: (error: unknown) => void) => void

  constructor(begin: (answer: (value: T) => void, fail: (error: unknown) => void) => void) {
    this.begin = begin
  }
}

/** For code that may call and tell, but needs nothing else of a port. */
export type Sender<Contract> = Pick<Port<never, Contract>, "call" | "tell">

export interface PortOptions<Ours> {
  send(message: Message): void
  readonly offers: Offers<Ours>
  /** Takes an error thrown by a told method, or by the callback of `ask`. Without it the port throws. */
  defect?(error: unknown, name: string): void
}

export class Port<Ours, Theirs> {
  readonly #send: (message: Message) => void
  readonly #offers: Offers<Ours>
  readonly #defect: (error: unknown, name: string) => void
  readonly #waiting = new Map<number, (outcome: Outcome<never>) => void>()
  #nextNumber = 1
  #end: Error | undefined

  constructor({ send, offers, defect = rethrow }: PortOptions<Ours>) {
    this.#send = send
    this.#offers = offers
    this.#defect = defect
  }

  /** Rejects with the code and the message of an error thrown on the other side. */
  async call<K extends Name<Theirs>>(
    name: K,
    ...given: Given<Theirs[K]>
  ): Promise<Returned<Theirs[K]>> {
    if (this.#end !== undefined) throw this.#end
    const { promise, resolve } = Promise.withResolvers<Outcome<Returned<Theirs[K]>>>()
    this.#send([name, this.#number(resolve), ...given])
    return resultOf(await promise)
  }

  ask<K extends Name<Theirs>>(
    name: K,
    ...given: [...Given<Theirs[K]>, then: (outcome: Outcome<Returned<Theirs[K]>>) => void]
  ): void {
    const then = given.pop() as (outcome: Outcome<never>) => void
    if (this.#end !== undefined) return then(failed(this.#end))
    this.#send([name, this.#number(then), ...given])
  }

  tell<K extends Told<Theirs>>(name: K, ...given: Given<Theirs[K]>): void {
    if (this.#end === undefined) this.#send([name, 0, ...given])
  }

  /** Takes a message of the other side. */
  receive(message: Message): void {
    const [name, number] = message
    try {
      if (name === DONE || name === FAILED) this.#takeAnswer(message)
      else if (number !== 0) this.#answer(message)
      else this.#take(message)
    } catch (error) {
      this.#defect(error, name)
    }
  }

  /** The other side no longer answers. */
  close(error: Error): void {
    this.#end ??= error
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const then of waiting) then(failed(error))
  }

  #number(then: (outcome: Outcome<never>) => void): number {
    const number = this.#nextNumber++
    this.#waiting.set(number, then)
    return number
  }

  #takeAnswer([name, number, value, message]: Message): void {
    const then = this.#waiting.get(number)
    this.#waiting.delete(number)
    if (name === DONE) then?.(done(value as never))
    else then?.({ kind: "failed", code: value as ErrorCode, message: message as string })
  }

  #take(message: Message): void {
    const result = this.#run(message)
    if (!(result instanceof Promise)) return
    result.catch((error) => this.#defect(error, message[0]))
  }

  #answer(message: Message): void {
    const number = message[1]
    const outcome = outcomeOf(() => this.#run(message))
    if (outcome.kind === "failed") return this.#sendAnswer(number, outcome)
    const { value } = outcome
    if (value instanceof Later) {
      const fail = (error: unknown) => this.#sendAnswer(number, failed(error))
      value.begin((value) => this.#sendAnswer(number, done(value)), fail)
    } else if (!(value instanceof Promise)) this.#sendAnswer(number, outcome)
    else void value.then(done, failed).then((outcome) => this.#sendAnswer(number, outcome))
  }

  #run([name, , ...given]: Message): unknown {
    const offers = this.#offers as Readonly<Record<string, (...given: unknown[]) => unknown>>
    const offer = offers[name]
    if (offer === undefined) throw new Error(`Cannot do "${name}": this thread does not offer it`)
    return offer(...given)
  }

  #sendAnswer(number: number, outcome: Outcome<unknown>): void {
    if (this.#end !== undefined) return
    if (outcome.kind === "failed") this.#send([FAILED, number, outcome.code, outcome.message])
    else if (outcome.value === undefined) this.#send([DONE, number])
    else this.#send([DONE, number, outcome.value])
  }
}

function rethrow(error: unknown): never {
  throw error
}

/** What a message gives away, and does not copy. */
export function portsOf(message: Message): MessagePort[] {
  return message.filter((given) => given instanceof MessagePort)
}

/** Connects a port to its Worker, on the side that has made it. `ended` may be called more than once. */
export function listen(
  worker: Worker,
  port: Pick<Port<never, never>, "receive">,
  thread: string,
  ended: (problem: string) => void,
): void {
  worker.onmessage = ({ data }: MessageEvent<Message>) => port.receive(data)
  worker.onerror = (event) => ended(event.message)
  worker.addEventListener("close", () => ended(`${thread} has ended`))
}

/** The port of a Worker to the thread that made it, for a Worker that hears nothing else. */
export function hostPort<Ours, Theirs>(self: Worker, offers: Offers<Ours>): Port<Ours, Theirs> {
  const port = new Port<Ours, Theirs>({ send: (message) => self.postMessage(message), offers })
  self.onmessage = ({ data }: MessageEvent<Message>) => port.receive(data)
  return port
}

/** Calls a Worker that was made for this call alone, and ends it. */
export async function callOnce<Theirs, K extends Name<Theirs>>(
  worker: Worker,
  thread: string,
  name: K,
  ...given: Given<Theirs[K]>
): Promise<Returned<Theirs[K]>> {
  const port = new Port<object, Theirs>({
    send: (message) => worker.postMessage(message),
    offers: {},
  })
  listen(worker, port, thread, (problem) => port.close(new LitefsError("io", problem)))
  try {
    return await port.call(name, ...given)
  } finally {
    worker.terminate()
  }
}
