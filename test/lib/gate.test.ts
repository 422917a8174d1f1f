import { expect, test } from "bun:test"
import { Gate } from "../../src/lib/gate.ts"

test("Gate.open() lets those through who wait, and nobody who comes later", async () => {
  const gate = new Gate()
  const passed: string[] = []
  const wait = async (name: string) => {
    await gate.wait()
    passed.push(name)
  }
  gate.open() // for nobody
  const first = [wait("a"), wait("b")]
  await Promise.resolve()
  expect(passed).toEqual([])
  gate.open()
  const later = wait("c")
  await Promise.all(first)
  expect(passed).toEqual(["a", "b"])
  gate.open()
  await later
  expect(passed).toEqual(["a", "b", "c"])
})

test("Gate may be opened by somebody who passes it", async () => {
  const gate = new Gate()
  const first = gate.wait().then(() => gate.open())
  const second = gate.wait()
  gate.open()
  await Promise.all([first, second])
})
