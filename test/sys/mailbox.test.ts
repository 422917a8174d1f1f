import { describe, expect, test } from "bun:test"
import { writeDevice } from "../../src/sys/device.ts"
import {
  closeMailbox,
  createMailbox,
  MailboxReceiver,
  MailboxSender,
} from "../../src/sys/mailbox.ts"
import { allocate } from "../../src/sys/memory.ts"
import type { Numbered } from "../support/mailbox-sender.ts"

function openMailbox<T>() {
  const ends = createMailbox()
  return {
    ends,
    sender: new MailboxSender<T>(ends.writeFd),
    receiver: new MailboxReceiver<T>(ends.readFd),
    [Symbol.dispose]: () => closeMailbox(ends),
  }
}

function receiveAll<T>(receiver: MailboxReceiver<T>): T[] {
  const messages: T[] = []
  receiver.receive((message) => messages.push(message))
  return messages
}

describe("MailboxReceiver", () => {
  test("MailboxReceiver hands over messages in order, and returns when there is none", () => {
    using box = openMailbox<{ n: number }>()
    expect(receiveAll(box.receiver)).toEqual([])
    for (let n = 0; n < 50; n++) box.sender.send({ n })
    expect(receiveAll(box.receiver).map(({ n }) => n)).toEqual(
      Array.from({ length: 50 }, (_, n) => n),
    )
    expect(receiveAll(box.receiver)).toEqual([])
  })

  test("MailboxReceiver puts a message together that comes in parts", () => {
    using box = openMailbox<string>()
    const text = JSON.stringify("snö ☃")
    const bytes = Buffer.concat([Buffer.alloc(4), Buffer.from(text)])
    bytes.writeUInt32LE(bytes.length - 4)
    const memory = allocate(4096)
    const received: string[] = []
    for (let cut = 1; cut < bytes.length; cut++) {
      for (const part of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
        memory.bytes.set(part)
        writeDevice(box.ends.writeFd, memory.address, part.length)
        received.push(...receiveAll(box.receiver))
      }
    }
    expect(received).toEqual(Array.from({ length: bytes.length - 1 }, () => "snö ☃"))
  })

  test("MailboxReceiver hands over every message of several threads, whole and in the order of each", async () => {
    using box = openMailbox<Numbered>()
    const count = 1500
    const workers = [0, 1, 2].map((sender) => {
      const worker = new Worker(new URL("../support/mailbox-sender.ts", import.meta.url).href)
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      worker.onmessage = () => resolve()
      worker.onerror = (event) => reject(new Error(event.message))
      worker.postMessage({ writeFd: box.ends.writeFd, sender, count })
      return { worker, promise }
    })
    const next = [0, 0, 0]
    for (let total = 0; total < 3 * count; ) {
      box.receiver.receive(({ sender, number, text }) => {
        if (number !== next[sender]) throw new Error(`Message ${number} of ${sender} out of order`)
        if (text !== "ü".repeat((number * 37) % 1900)) throw new Error("The text is another")
        next[sender] = number + 1
        total += 1
      })
    }
    await Promise.all(workers.map(({ promise }) => promise))
    for (const { worker } of workers) worker.terminate()
    expect(receiveAll(box.receiver)).toEqual([])
  })
})

test("MailboxSender refuses a message that could mix with another's", () => {
  using box = openMailbox<string>()
  expect(() => box.sender.send("x".repeat(5000))).toThrow("a message fits PIPE_BUF")
  box.sender.send("y".repeat(4000))
  expect(receiveAll(box.receiver)).toEqual(["y".repeat(4000)])
})
