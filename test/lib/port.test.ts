import { describe, expect, test } from "bun:test"
import { receiveMessageOnPort } from "node:worker_threads"
import { LitefsError } from "../../src/lib/errors.ts"
import { failed, type Outcome } from "../../src/lib/outcome.ts"
import { callOnce, Later, listen, type Message, Port } from "../../src/lib/port.ts"
import { type EchoHost, type EchoThread, isShared } from "../support/echo-thread.ts"
import { portPair } from "../support/port-pair.ts"

interface Thread {
  double(of: number): number
  slow(name: string): string
  blocking(name: string): string
  stop(): void
  note(text: string): void
  noteSlow(text: string): void
}

interface Host {
  noted(text: string): void
}

/** A thread, what it has been told, and how to end what takes a while. */
function fixture() {
  const told: string[] = []
  const heard: string[] = []
  const defects: [unknown, string][] = []
  const slow = new Map<string, PromiseWithResolvers<string>>()
  const blocking = new Map<string, (value: string) => void>()
  const pair = portPair<Host, Thread>(
    { noted: (text) => void heard.push(text) },
    {
      double: (of) => {
        pair.right.tell("noted", `double ${of}`)
        return of * 2
      },
      slow: (name) => {
        const deferred = Promise.withResolvers<string>()
        slow.set(name, deferred)
        return deferred.promise
      },
      blocking: (name) => new Later((answer) => blocking.set(name, answer)),
      stop: () => {
        throw new LitefsError("no-lock", "not now")
      },
      note: (text) => {
        if (text === "bad") throw new Error("a bad note")
        told.push(text)
      },
      noteSlow: async () => {
        await Promise.resolve()
        throw new Error("a slow defect")
      },
    },
    (error, name) => defects.push([error, name]),
  )
  return { ...pair, told, heard, defects, slow, blocking }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
}

describe("call()", () => {
  test("sends at once, and resolves with the answer that bears its number", async () => {
    const { left, sent } = fixture()
    const calls = [left.call("double", 1), left.call("double", 2)]
    expect(sent).toEqual([
      ["double", 1, 1],
      ["double", 2, 2],
    ])
    expect(await Promise.all(calls)).toEqual([2, 4])
  })

  test("is answered when its work is done, whatever the order", async () => {
    const { left, slow, blocking } = fixture()
    const ended: string[] = []
    const note = (name: string) => void ended.push(name)
    void left.call("slow", "one").then(note)
    void left.call("slow", "two").then(note)
    void left.call("blocking", "three").then(note)
    await turns()
    blocking.get("three")?.("three")
    slow.get("two")?.resolve("two")
    await turns()
    expect(ended).toEqual(["three", "two"])
    slow.get("one")?.resolve("one")
    await turns()
    expect(ended).toEqual(["three", "two", "one"])
  })

  test("rejects with the code and the message of what was thrown there, or rejected", async () => {
    const { left, slow, defects } = fixture()
    const thrown = left.call("stop")
    await expect(thrown).rejects.toMatchObject({ code: "no-lock", message: "not now" })
    await expect(thrown).rejects.toBeInstanceOf(LitefsError)
    const rejected = left.call("slow", "one")
    await turns()
    slow.get("one")?.reject(new Error("no such thing"))
    await expect(rejected).rejects.toMatchObject({ code: "io", message: "no such thing" })
    expect(defects).toEqual([]) // who has called knows
  })

  test("rejects when the other side does not offer it", async () => {
    const { left } = fixture()
    const other = left as unknown as Port<Host, { unknown(): void }>
    await expect(other.call("unknown")).rejects.toThrow('Cannot do "unknown"')
  })
})

describe("ask()", () => {
  test("calls back while the answer is taken, without a promise", () => {
    const sent: Message[] = []
    const outcomes: Outcome<number>[] = []
    const port = new Port<Host, Thread>({
      send: (message) => sent.push(message),
      offers: { noted: () => {} },
    })
    port.ask("double", 4, (outcome) => outcomes.push(outcome))
    port.ask("double", 5, (outcome) => outcomes.push(outcome))
    expect(sent).toEqual([
      ["double", 1, 4],
      ["double", 2, 5],
    ])
    port.receive(["!", 2, "no-space", "full"])
    port.receive(["=", 1, 8])
    port.receive(["=", 1, 9]) // nobody waits for it
    expect(outcomes).toEqual([
      { kind: "failed", code: "no-space", message: "full" },
      { kind: "done", value: 8 },
    ])
  })

  test("goes on after a callback that throws", async () => {
    const { left, defects } = fixture()
    const outcomes: unknown[] = []
    left.ask("double", 1, () => {
      throw new Error("bad callback")
    })
    left.ask("double", 2, (outcome) => outcomes.push(outcome))
    await turns()
    expect(defects.map(([error]) => String(error))).toEqual(["Error: bad callback"])
    expect(outcomes).toEqual([{ kind: "done", value: 4 }])
  })
})

describe("tell()", () => {
  test("is answered by nothing, and goes on after what throws or rejects", async () => {
    const { left, told, sent, defects } = fixture()
    left.tell("note", "one")
    left.tell("note", "bad")
    left.tell("noteSlow", "two")
    left.tell("note", "three")
    await turns()
    expect(told).toEqual(["one", "three"])
    expect(sent).toHaveLength(4)
    expect(defects.map(([error, name]) => [String(error), name])).toEqual([
      ["Error: a bad note", "note"],
      ["Error: a slow defect", "noteSlow"],
    ])
  })

  test("throws where the message arrives, when nobody looks after defects", () => {
    const port = new Port<Pick<Thread, "note">, object>({
      send: () => {},
      offers: {
        note: () => {
          throw new Error("a bad note")
        },
      },
    })
    expect(() => port.receive(["note", 0, "x"])).toThrow("a bad note")
  })
})

describe("order", () => {
  test("what is told, asked and called arrives as it was sent", async () => {
    const { left, sent, told } = fixture()
    left.tell("note", "one")
    const call = left.call("double", 1)
    left.ask("double", 2, () => told.push("answer of two"))
    left.tell("note", "three")
    expect(sent.map(([name, , given]) => [name, given])).toEqual([
      ["note", "one"],
      ["double", 1],
      ["double", 2],
      ["note", "three"],
    ])
    await call
    await turns()
    expect(told).toEqual(["one", "three", "answer of two"])
  })

  test("what is told before an answer is known when the answer is", async () => {
    const { left, heard } = fixture()
    let heardThen: string[] = []
    left.ask("double", 7, () => {
      heardThen = [...heard]
    })
    await turns()
    expect(heardThen).toEqual(["double 7"])
    expect(await left.call("double", 8)).toBe(16)
    expect(heard).toEqual(["double 7", "double 8"])
  })

  test("what was given may change afterwards", async () => {
    const given = { text: "before" }
    const pair = portPair<object, { same(given: { text: string }): { text: string } }>(
      {},
      { same: (each) => each },
    )
    const same = pair.left.call("same", given)
    given.text = "after"
    expect(await same).toEqual({ text: "before" })
  })
})

describe("close()", () => {
  test("fails all that waits, and what comes later, and sends nothing", async () => {
    const { left, sent } = fixture()
    const error = new LitefsError("io", "the thread has ended")
    const outcomes: unknown[] = []
    const waiting = left.call("slow", "one")
    left.ask("slow", "two", (outcome) => outcomes.push(outcome))
    left.close(error)
    await expect(waiting).rejects.toThrow("the thread has ended")
    await expect(left.call("stop")).rejects.toThrow("the thread has ended")
    left.ask("double", 3, (outcome) => outcomes.push(outcome))
    left.tell("note", "four")
    expect(outcomes).toEqual([failed(error), failed(error)])
    expect(sent).toHaveLength(2)
    left.close(new Error("another"))
    await expect(left.call("stop")).rejects.toThrow("the thread has ended")
  })

  test("answers nobody any more", async () => {
    const { left, right, slow, sent } = fixture()
    void left.call("slow", "one")
    await turns()
    right.close(new Error("gone"))
    slow.get("one")?.resolve("one")
    await turns()
    expect(sent).toHaveLength(1)
  })
})

describe("a Worker", () => {
  function start() {
    const worker = new Worker(new URL("../support/echo-thread.ts", import.meta.url).href)
    const progress: number[] = []
    const ended: string[] = []
    const port = new Port<EchoHost, EchoThread>({
      send: (message) => {
        const ports = message.filter((each) => each instanceof MessagePort)
        worker.postMessage(message, ports)
      },
      offers: { progress: (count) => void progress.push(count) },
    })
    listen(worker, port, "the echo thread", (problem) => {
      ended.push(problem)
      port.close(new LitefsError("io", problem))
    })
    return { worker, port, progress, ended }
  }

  test("shares memory, takes ports, and tells before it answers", async () => {
    const { worker, port, progress } = start()
    try {
      const memory = new SharedArrayBuffer(4)
      const channel = new MessageChannel()
      const back = await port.call("add", memory, 3, channel.port2)
      expect(new Int32Array(memory)[0]).toBe(3)
      expect(isShared(back, memory)).toBe(true)
      expect(progress).toEqual([1, 2, 3])
      expect(receiveMessageOnPort(channel.port1 as never)).toEqual({ message: "added" } as never)
      expect(await port.call("echo", new Uint8Array([1, 2]), 2n ** 60n, undefined)).toEqual([
        ...[new Uint8Array([1, 2]), 2n ** 60n, undefined],
      ])
    } finally {
      worker.terminate()
    }
  })

  test("that is made for one call is ended after it, and by its death", async () => {
    const url = new URL("../support/echo-thread.ts", import.meta.url).href
    const worker = new Worker(url)
    const ended = Promise.withResolvers<void>()
    worker.addEventListener("close", () => ended.resolve())
    const given = [new Uint8Array(0), 1n, "once"] as const
    expect(await callOnce<EchoThread, "echo">(worker, "it", "echo", ...given)).toEqual([...given])
    await ended.promise
    const dying = new Worker(url)
    const waiting = callOnce<EchoThread, "never">(dying, "the thread", "never")
    dying.terminate()
    await expect(waiting).rejects.toMatchObject({ code: "io", message: "the thread has ended" })
  })

  test("that dies rejects what it was called for", async () => {
    const { worker, port, ended } = start()
    const waiting = port.call("never")
    await port.call("echo", new Uint8Array(0), 0n, "here")
    worker.terminate()
    await expect(waiting).rejects.toMatchObject({
      code: "io",
      message: "the echo thread has ended",
    })
    expect(ended.length).toBeGreaterThan(0)
    await expect(port.call("never")).rejects.toThrow("the echo thread has ended")
  })
})
