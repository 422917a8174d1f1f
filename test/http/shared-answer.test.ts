import { expect, test } from "bun:test"
import { SharedAnswer } from "../../src/http/status/shared-answer.ts"
import { Gate } from "../../src/lib/gate.ts"
import { FakeClock } from "../support/fake-clock.ts"

function fixture() {
  const clock = new FakeClock()
  const begun: PromiseWithResolvers<string>[] = []
  const news = new Gate()
  const answer = new SharedAnswer(clock, () => {
    const made = Promise.withResolvers<string>()
    begun.push(made)
    news.open()
    return made.promise
  })
  const get = async () => new TextDecoder().decode(await answer.get())
  const begins = async (count: number) => {
    while (begun.length < count) await news.wait()
  }
  return { clock, begun, get, begins }
}

test("SharedAnswer is made once for all who ask before it is begun, and anew for those who ask later", async () => {
  const { begun, get, begins } = fixture()
  const early = [get(), get()]
  await begins(1)
  const late = [get(), get(), get()]
  begun[0]?.resolve("first")
  expect(await Promise.all(early)).toEqual(["first", "first"])
  await begins(2)
  begun[1]?.resolve("second")
  expect(await Promise.all(late)).toEqual(["second", "second", "second"])
  expect(begun.length).toBe(2)
})

test("SharedAnswer leaves half of the time to others", async () => {
  const { clock, begun, get, begins } = fixture()
  const first = get()
  await begins(1)
  clock.advance(100)
  begun[0]?.resolve("first")
  await first
  const second = get()
  clock.advance(99)
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
  expect(begun.length).toBe(1)
  clock.advance(1)
  await begins(2)
  begun[1]?.resolve("second")
  expect(await second).toBe("second")
})

test("SharedAnswer is made again after it could not be made", async () => {
  const { begun, get, begins } = fixture()
  const first = get()
  await begins(1)
  begun[0]?.reject(new Error("no"))
  expect(await first.catch((error) => error.message)).toBe("no")
  const second = get()
  await begins(2)
  begun[1]?.resolve("second")
  expect(await second).toBe("second")
})
