import { expect, test } from "bun:test"
import { MessageChannel } from "node:worker_threads"
import { damagedHandover } from "../../src/capture/handover.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { type Message, type Offers, Port } from "../../src/lib/port.ts"
import type { FsHost, FsThread, FsThreadOfPeer } from "../../src/mount/contract.ts"
import { FsMailboxReceiver, FsMailboxSender } from "../../src/mount/fs-mailbox.ts"
import { closeMailbox, createMailbox, MailboxSender } from "../../src/sys/mailbox.ts"

/** The main thread, the peer thread, and an fs thread without an event loop: it takes messages when it is told to. */
function fixture(host: Partial<Offers<FsHost>> = {}) {
  const ends = createMailbox()
  const { port1, port2 } = new MessageChannel()
  const sender = new FsMailboxSender(ends.writeFd, port1)
  const receiver = new FsMailboxReceiver(ends.readFd, port2)
  const mailbox = new MailboxSender<Message>(ends.writeFd)
  const done: unknown[][] = []
  const note =
    (name: string) =>
    (...given: unknown[]): void => {
      done.push([name, ...given])
    }
  const names = [
    "closing",
    "lost",
    "borrow",
    "inherit",
    "primary",
    "switched",
    "staleWriter",
  ] as const
  const offers = Object.fromEntries(names.map((name) => [name, note(name)]))
  const main = new Port<FsHost, FsThread>({
    send: (message) => sender.send(message),
    offers: host as Offers<FsHost>,
  })
  const peer = new Port<object, FsThreadOfPeer>({
    send: (message) => mailbox.send(message),
    offers: {},
  })
  const fs = new Port<FsThread & FsThreadOfPeer, FsHost>({
    send: (message) => main.receive(message),
    offers: offers as unknown as Offers<FsThread & FsThreadOfPeer>,
  })
  return {
    ...{ main, peer, fs, done },
    take: () => receiver.receive((message) => fs.receive(message)),
    [Symbol.dispose]() {
      port1.close()
      closeMailbox(ends)
    },
  }
}

test("FsMailbox keeps the order of what both threads send, and of what goes beside it", async () => {
  using threads = fixture()
  const { main, peer, done, take } = threads
  const one = damagedHandover("one")
  main.tell("closing", "a")
  peer.tell("staleWriter", "a", true)
  const borrowing = main.call("borrow", one)
  peer.tell("switched", "a", 7)
  const taking = main.call("inherit", [one, damagedHandover("two")])
  main.tell("lost", "a")
  take()
  expect(done).toEqual([
    ["closing", "a"],
    ["staleWriter", "a", true],
    ["borrow", one],
    ["switched", "a", 7],
    ["inherit", [one, damagedHandover("two")]],
    ["lost", "a"],
  ])
  await Promise.all([borrowing, taking])
})

test("FsMailbox shares memory", async () => {
  using threads = fixture()
  const { main, done, take } = threads
  const memory = new SharedArrayBuffer(4)
  const handover = { ...damagedHandover("db"), memory }
  const borrowing = main.call("borrow", handover)
  take()
  const [[, given] = []] = done
  new Int32Array((given as typeof handover).memory)[0] = 5
  expect(new Int32Array(memory)[0]).toBe(5)
  await borrowing
})

test("FsMailbox says undefined", () => {
  using threads = fixture()
  const { peer, done, take } = threads
  peer.tell("primary", undefined)
  peer.tell("switched", "db", undefined)
  take()
  expect(done).toEqual([
    ["primary", undefined],
    ["switched", "db", undefined],
  ])
})

test("FsMailbox carries an error however long its message is", async () => {
  const propose = () => Promise.reject(new LitefsError("no-primary", "\u0000x".repeat(5000)))
  using threads = fixture({ propose })
  const { fs, take } = threads
  const outcomes: unknown[] = []
  fs.ask("propose", "db", new Uint8Array(9000), (outcome) => outcomes.push(outcome))
  for (let turn = 0; turn < 5; turn++) await Promise.resolve()
  take()
  const message = "\u0000x".repeat(250)
  expect(outcomes).toEqual([{ kind: "failed", code: "no-primary", message }])
})
