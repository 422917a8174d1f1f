import { describe, expect, test } from "bun:test"
import { type Answer, Callee, Caller, type CallTo } from "../../src/lib/calls.ts"
import { LitefsError } from "../../src/lib/errors.ts"

interface Calls {
  double(given: { of: number }): number
  stop(): void
}

/** Both ends, and what has been sent between them. */
function threads() {
  const sent: CallTo<Calls>[] = []
  const answers: Answer[] = []
  const caller = new Caller<Calls>((call) => sent.push(call))
  const callee = new Callee<Calls>((answer) => answers.push(answer))
  const deliver = () => {
    for (const answer of answers.splice(0)) caller.answered(answer)
  }
  return { caller, callee, sent, deliver }
}

describe("Caller", () => {
  test("sends a call at once, and has the answer that bears its number", async () => {
    const { caller, callee, sent, deliver } = threads()
    const one = caller.call("double", { of: 1 })
    const two = caller.call("double", { of: 2 })
    expect(sent).toEqual([
      { type: "double", call: 1, of: 1 },
      { type: "double", call: 2, of: 2 },
    ])
    for (const call of [...sent].reverse()) {
      if (call.type === "double") callee.answer(call, call.of * 2)
    }
    deliver()
    expect(await Promise.all([one, two])).toEqual([2, 4])
  })

  test("rejects what waits for a thread that has died, and what is asked of it later", async () => {
    const { caller, sent, deliver } = threads()
    const waiting = caller.call("stop")
    caller.fail(new LitefsError("io", "the thread has ended"))
    await expect(waiting).rejects.toThrow("the thread has ended")
    await expect(caller.call("stop")).rejects.toThrow("the thread has ended")
    expect(sent).toHaveLength(1)
    deliver()
  })

  test("rejects with the code and the message of what was thrown there", async () => {
    const { caller, callee, sent, deliver } = threads()
    const stopping = [caller.call("stop"), caller.call("stop")]
    const error = new LitefsError("no-lock", "not now")
    for (const [i, call] of sent.entries()) {
      if (i === 0) callee.answerLater({ ...call, type: "stop" }, Promise.reject(error))
      else {
        callee.attempt({ ...call, type: "stop" }, () => {
          throw error
        })
      }
    }
    for (let turn = 0; turn < 5; turn++) await Promise.resolve()
    deliver()
    for (const each of await Promise.allSettled(stopping)) {
      expect(each.status).toBe("rejected")
      if (each.status === "rejected") expect(each.reason).toMatchObject({ code: "no-lock" })
    }
  })

  test("ignores an answer that nobody waits for", () => {
    const { caller } = threads()
    caller.answered({ type: "answered", call: 9, outcome: { kind: "done", value: 1 } })
  })
})
