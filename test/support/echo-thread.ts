/** A Worker behind a port: what it gets comes back. */
import { hostPort } from "../../src/lib/port.ts"

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

const host = hostPort<EchoThread, EchoHost>(self, {
  add: (memory, count, port) => {
    const words = new Int32Array(memory)
    for (let i = 0; i < count; i++) host.tell("progress", Atomics.add(words, 0, 1) + 1)
    port.postMessage("added")
    return memory
  },
  echo: (...given) => given,
  never: () => new Promise(() => {}),
})

/** Whether a change of one is a change of the other. */
export function isShared(one: SharedArrayBuffer, other: SharedArrayBuffer): boolean {
  const [first, second] = [new Int32Array(one), new Int32Array(other)]
  Atomics.add(first, 0, 1)
  return Atomics.load(first, 0) === Atomics.load(second, 0)
}
