/** A Worker behind a port: what it gets comes back. */
import { type Message, Port } from "../../src/lib/port.ts"

export interface EchoThread {
  /** Counts up in shared memory, then sends "added" through the port. Returns the memory. */
  add(memory: SharedArrayBuffer, count: number, port: MessagePort): SharedArrayBuffer
  echo(bytes: Uint8Array, large: bigint, text: string | undefined): unknown[]
  never(): void
}

export interface EchoHost {
  progress(count: number): void
}

declare const self: Worker

const host = new Port<EchoThread, EchoHost>({
  send: (message) => self.postMessage(message),
  offers: {
    add: (memory, count, port) => {
      for (let i = 0; i < count; i++)
        host.tell("progress", Atomics.add(new Int32Array(memory), 0, 1) + 1)
      port.postMessage("added")
      return memory
    },
    echo: (...given) => given,
    never: () => new Promise(() => {}),
  },
})

self.onmessage = ({ data }: MessageEvent<Message>) => host.receive(data)

/** Whether a change of one is a change of the other. */
export function isShared(one: SharedArrayBuffer, other: SharedArrayBuffer): boolean {
  const [first, second] = [new Int32Array(one), new Int32Array(other)]
  Atomics.add(first, 0, 1)
  return Atomics.load(first, 0) === Atomics.load(second, 0)
}
