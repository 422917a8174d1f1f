/**
 * The lease store of the simulation, as a node reaches it over the network: a call is lost on its way, takes long, is
 * done and its answer lost, or finds the store down. What the store does is in test/support/memory-store.ts; the clients
 * of etcd and Consul are not part of the simulation.
 */

import type { LeaseStore, StoreView, Taken } from "../../src/cluster/stores/lease-store.ts"
import { sleep } from "../../src/lib/clock.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { type MemoryPlace, MemoryStore } from "../support/memory-store.ts"
import type { Network } from "./network.ts"
import type { Process } from "./scheduler.ts"

export const STORE_HOST = "store"

const CALL_MS_MIN = 500
const WATCH_MS = 300

/** What is wrong with the store itself. */
export interface StoreState {
  isDown: boolean
  /** How much longer each call takes. */
  slowMs: number
  /** Of the answers, what part is lost on the way though all links are well. */
  lossRate: number
}

export class SimulatedStore implements LeaseStore {
  readonly kind = "etcd"
  readonly where = STORE_HOST
  readonly ttlMs: number
  readonly #place: MemoryPlace
  readonly #inner: MemoryStore
  readonly #state: StoreState
  readonly #network: Network
  readonly #process: Process
  readonly #limitMs: number

  constructor(place: MemoryPlace, state: StoreState, network: Network, process: Process) {
    this.#place = place
    this.#inner = new MemoryStore(place)
    this.#state = state
    this.#network = network
    this.#process = process
    this.ttlMs = place.ttlMs
    this.#limitMs = Math.max(CALL_MS_MIN, place.ttlMs / 6) // as open-store.ts has it
  }

  #call<T>(act: (store: LeaseStore) => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const process = this.#process
    const { scheduler, random } = this.#network
    const { name } = process
    const cancel = process.after(this.#limitMs, () => {
      reject(new LitefsError("unavailable", `no answer in ${this.#limitMs} ms`))
    })
    const answer = (give: () => void) => {
      scheduler.after(this.#network.packetMs, () => {
        const isLost = random.u32() < this.#state.lossRate * 2 ** 32
        if (isLost || !this.#network.leads(STORE_HOST, name)) return
        process.run(() => {
          cancel()
          give()
        })
      })
    }
    scheduler.after(this.#network.packetMs + this.#state.slowMs, () => {
      if (!this.#network.leads(name, STORE_HOST)) return
      if (this.#state.isDown) {
        return answer(() => reject(new LitefsError("unavailable", "nothing listens at the store")))
      }
      act(this.#inner).then(
        (value) => answer(() => resolve(value)),
        (error) => answer(() => reject(error)),
      )
    })
    return promise
  }

  read(): Promise<StoreView> {
    return this.#call((store) => store.read())
  }

  candidates(): Promise<readonly string[]> {
    return this.#call((store) => store.candidates())
  }

  openSession(): Promise<string> {
    return this.#call((store) => store.openSession())
  }

  renew(session: string): Promise<number | undefined> {
    return this.#call((store) => store.renew(session))
  }

  endSession(session: string): Promise<void> {
    return this.#call((store) => store.endSession(session))
  }

  announce(session: string, id: string, text: string): Promise<boolean> {
    return this.#call((store) => store.announce(session, id, text))
  }

  take(session: string, taken: Taken, view: StoreView): Promise<boolean> {
    return this.#call((store) => store.take(session, taken, view))
  }

  confirm(session: string, text: string, last?: string): Promise<boolean> {
    return this.#call((store) => store.confirm(session, text, last))
  }

  replace(session: string, text: string, next: string, last: string): Promise<boolean> {
    return this.#call((store) => store.replace(session, text, next, last))
  }

  release(session: string, text: string, last: string): Promise<void> {
    return this.#call((store) => store.release(session, text, last))
  }

  /** Who watches hears of a change a little later, as long as it is connected. */
  async watch(view: StoreView, all: boolean, signal: AbortSignal): Promise<void> {
    const before = this.#content(all)
    for (let look = 0; look < 100 && !signal.aborted; look++) {
      await sleep(this.#process.clock, WATCH_MS, signal).catch(() => {})
      const isConnected = !this.#state.isDown && this.#network.leads(STORE_HOST, this.#process.name)
      if (!isConnected) continue
      const isOther = this.#place.holder?.text !== view.holder?.text
      if (isOther || this.#content(all) !== before) return
    }
  }

  #content(all: boolean): string {
    this.#place.expire()
    const texts = all ? [...this.#place.candidates.values()].map(({ text }) => text) : []
    return [this.#place.holder?.text, ...texts].join()
  }

  close(): void {}
}
