/**
 * Calls from one thread to another: messages that are answered, each by its number.
 *
 * What a thread can be called for is an interface, with methods that take one object or nothing:
 *
 *   interface Calls { freeze(given: { database: string }): State | undefined }
 *
 *   caller.call("freeze", { database })  ──  { type: "freeze", call: 7, database }  ─▶  callee.answer(message, state)
 *   resolves with the state              ◀─  { type: "answered", call: 7, outcome } ──
 *
 * A call whose thread has died is not answered: whoever hears of that calls fail(), and all of them reject.
 */
import { done, failed, type Outcome, outcomeOf, resultOf } from "./outcome.ts"

/** One of the calls, as it is sent. */
export type CallTo<Calls, Type extends keyof Calls = keyof Calls> = {
  [T in Type]: Numbered<T> & Fields<Calls[T]>
}[Type]

export interface Answer {
  readonly type: "answered"
  readonly call: number
  readonly outcome: Outcome<unknown>
}

type Fields<Method> = Given<Method> extends [infer T] ? Readonly<T> : object

type Given<Method> = Method extends (...given: infer T extends [object?]) => unknown ? T : never

type Returned<Method> = Method extends (given: never) => infer T ? T : never

/** The thread that calls. */
export class Caller<Calls> {
  readonly #send: (call: CallTo<Calls>) => void
  readonly #waiting = new Map<number, (outcome: Outcome<unknown>) => void>()
  #nextCall = 1
  #error: Error | undefined

  constructor(send: (call: CallTo<Calls>) => void) {
    this.#send = send
  }

  /** Sends it at once. Rejects with what the other thread has thrown. */
  async call<Type extends keyof Calls>(
    type: Type,
    ...[given]: Given<Calls[Type]>
  ): Promise<Returned<Calls[Type]>> {
    if (this.#error !== undefined) throw this.#error
    const call = this.#nextCall++
    const { promise, resolve } = Promise.withResolvers<Outcome<unknown>>()
    this.#waiting.set(call, resolve)
    this.#send({ ...given, type, call } as unknown as CallTo<Calls>)
    return resultOf(await promise) as Returned<Calls[Type]>
  }

  /** The other thread answers nothing any more. */
  fail(error: Error): void {
    this.#error ??= error
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const resolve of waiting) resolve(failed(error))
  }

  answered({ call, outcome }: Answer): void {
    this.#waiting.get(call)?.(outcome)
    this.#waiting.delete(call)
  }
}

/** The thread that is called. */
export class Callee<Calls> {
  readonly #tell: (answer: Answer) => void

  constructor(tell: (answer: Answer) => void) {
    this.#tell = tell
  }

  answer<Type extends keyof Calls>(call: Numbered<Type>, value: Returned<Calls[Type]>): void {
    this.#tell(answerTo(call, done(value)))
  }

  /** What `act` throws is the answer. */
  attempt<Type extends keyof Calls>(call: Numbered<Type>, act: () => Returned<Calls[Type]>): void {
    this.#tell(answerTo(call, outcomeOf(act)))
  }

  /** What has been thrown is the answer. */
  fail(call: Numbered<keyof Calls>, error: unknown): void {
    this.#tell(answerTo(call, failed(error)))
  }

  /** The same for what takes a while. */
  answerLater<Type extends keyof Calls>(
    call: Numbered<Type>,
    work: Promise<Returned<Calls[Type]>>,
  ): void {
    void work.then(done, failed).then((outcome) => this.#tell(answerTo(call, outcome)))
  }
}

interface Numbered<Type> {
  readonly type: Type
  readonly call: number
}

function answerTo({ call }: Numbered<unknown>, outcome: Outcome<unknown>): Answer {
  return { type: "answered", call, outcome }
}
