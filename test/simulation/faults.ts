/**
 * What goes wrong in a run: each fault begins, and ends some time later. A fault troubles a machine, or all that the
 * machines share.
 *
 *   of a machine   its process is killed, stopped for a while (SIGSTOP), or ends (SIGTERM); it has no power; it is cut off
 *                  from the store, from one other or from all, one way or both; its disk is slow, or full; somebody sets
 *                  its clock
 *   of all         the store is down, slow, or loses answers; the network loses packets, or is slow
 *   of people      the role is handed over, or taken by force
 */
import type { Random } from "../support/random.ts"
import type { Network } from "./network.ts"
import type { Machine } from "./node.ts"
import type { Scheduler } from "./scheduler.ts"
import { STORE_HOST, type StoreState } from "./store.ts"

export interface FaultsContext {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly network: Network
  readonly machines: readonly Machine[]
  readonly store: StoreState
  /** So many machines may be in trouble at a time. */
  readonly troubleMax: number
  /** For so long after its fault a machine still counts as troubled. */
  readonly graceMs: number
  /** Whether people make primaries by force. */
  readonly isForced: boolean
  /** Faults are short, or last so long. */
  readonly longMs: readonly [least: number, most: number]
  trace(text: string): void
  /** Somebody has made it the primary by force, whatever it lacks. */
  forced(machine: Machine): void
}

type Fault = (machine: Machine) => (() => void) | undefined

export class Faults {
  count = 0
  isOver = false
  readonly #context: FaultsContext
  readonly #troubled = new Map<Machine, number>() // until when
  readonly #sharedEnds = new Set<() => void>()

  constructor(context: FaultsContext) {
    this.#context = context
  }

  get #ofMachine(): readonly (readonly [string, Fault])[] {
    const { random, network, machines } = this.#context
    const others = (machine: Machine) => machines.filter((other) => other !== machine)
    const back = (machine: Machine) => () => machine.start()
    const cut = (pairs: readonly (readonly [string, string])[]) => {
      for (const [from, to] of pairs) network.cut(from, to)
      return () => {
        for (const [from, to] of pairs) network.mend(from, to)
      }
    }
    const ways = (one: string, other: string) => {
      const both = [
        [one, other],
        [other, one],
      ] as const
      const way = random.below(4)
      return way < 2 ? both : [both[way - 2] as readonly [string, string]]
    }
    return [
      [
        "is killed",
        (machine) => {
          machine.kill()
          return back(machine)
        },
      ],
      [
        "has no power",
        (machine) => {
          machine.cutPower()
          return back(machine)
        },
      ],
      [
        "ends",
        (machine) => {
          let isDue = false
          const start = () => {
            if (isDue) machine.start()
          }
          void machine.stop().then(start, start)
          return () => {
            isDue = true
            machine.start()
          }
        },
      ],
      [
        "is stopped",
        (machine) => {
          const process = machine.node?.process
          process?.stop()
          return () => process?.goOn()
        },
      ],
      [
        "is stopped",
        (machine) => {
          const process = machine.node?.process
          process?.stop()
          return () => process?.goOn()
        },
      ],
      [
        "is cut off from all",
        ({ name }) =>
          cut(
            [...machines.map((other) => other.name), STORE_HOST].flatMap((other) =>
              ways(name, other),
            ),
          ),
      ],
      [
        "is cut off from all others",
        (machine) => cut(others(machine).flatMap((other) => ways(machine.name, other.name))),
      ],
      ["is cut off from the store", ({ name }) => cut(ways(name, STORE_HOST))],
      [
        "is cut off from another",
        (machine) => cut(ways(machine.name, random.pick(others(machine)).name)),
      ],
      [
        "has a slow disk",
        ({ disk }) => {
          disk.syncMs = [50, random.pick([500, 5000, 20_000])]
          return () => {
            disk.syncMs = [0.1, 2]
          }
        },
      ],
      [
        "has a full disk",
        ({ disk }) => {
          disk.isFull = true
          return () => {
            disk.isFull = false
          }
        },
      ],
      [
        "has its clock set",
        (machine) => {
          machine.wallOffsetMs = random.pick([-86_400_000, -5000, 5000, 86_400_000])
          if (machine.node !== undefined) machine.node.process.wallOffsetMs = machine.wallOffsetMs
          return undefined
        },
      ],
    ]
  }

  get #ofAll(): readonly (readonly [string, () => () => void])[] {
    const { random, network, store } = this.#context
    return [
      [
        "the store is down",
        () => {
          store.isDown = true
          return () => {
            store.isDown = false
          }
        },
      ],
      [
        "the store is slow",
        () => {
          store.slowMs = random.pick([100, 400, 1500])
          return () => {
            store.slowMs = 0
          }
        },
      ],
      [
        "the store loses answers",
        () => {
          store.lossRate = 0.4
          return () => {
            store.lossRate = 0
          }
        },
      ],
      [
        "the network is bad",
        () => {
          const before = network.conditions
          network.conditions = random.pick([
            { latencyMs: [1, 50], lossRate: 0.1 },
            { latencyMs: [20, 400], lossRate: 0 },
          ] as const)
          return () => {
            network.conditions = before
          }
        },
      ],
    ]
  }

  /** From now on, until end(). `pauseMs` is the mean time between the beginnings of two faults. */
  start(pauseMs: number): void {
    const { scheduler, random } = this.#context
    const next = () => {
      scheduler.after(pauseMs * 2 * (random.u32() / 2 ** 32), () => {
        if (this.isOver) return
        this.#begin()
        next()
      })
    }
    next()
  }

  #begin(): void {
    const { random } = this.#context
    const kind = random.below(10)
    if (kind < 6) this.#troubleOne()
    else if (kind < 8) this.#troubleAll()
    else this.#people()
  }

  #lengthMs(): number {
    const { random, longMs } = this.#context
    return random.below(2) === 0 ? random.between(50, longMs[0]) : random.between(...longMs)
  }

  #troubleOne(): void {
    const { scheduler, random, machines, troubleMax, graceMs, trace } = this.#context
    for (const [machine, untilMs] of this.#troubled) {
      if (untilMs < scheduler.nowMs) this.#troubled.delete(machine)
    }
    const free = machines.filter((machine) => !this.#troubled.has(machine))
    if (this.#troubled.size >= troubleMax || free.length === 0) return this.#troubleAll()
    const machine = random.pick(free)
    const [name, fault] = random.pick(this.#ofMachine)
    const lengthMs = this.#lengthMs()
    this.#troubled.set(machine, Number.POSITIVE_INFINITY)
    this.count += 1
    trace(`FAULT ${machine.name} ${name}, for ${lengthMs} ms`)
    const end = fault(machine)
    scheduler.after(lengthMs, () => {
      trace(`FAULT ${machine.name} ${name}: over`)
      end?.()
      this.#troubled.set(machine, scheduler.nowMs + graceMs)
    })
  }

  #troubleAll(): void {
    const { scheduler, random, trace } = this.#context
    if (this.#sharedEnds.size > 0) return this.#people()
    const [name, fault] = random.pick(this.#ofAll)
    const lengthMs = this.#lengthMs()
    this.count += 1
    trace(`FAULT ${name}, for ${lengthMs} ms`)
    const end = fault()
    this.#sharedEnds.add(end)
    scheduler.after(lengthMs, () => {
      if (!this.#sharedEnds.delete(end)) return
      trace(`FAULT ${name}: over`)
      end()
    })
  }

  #people(): void {
    const { random, machines, isForced, trace, forced } = this.#context
    const machine = random.pick(machines)
    const { name, node } = machine
    if (node === undefined || node.process.isStopped) return
    const { membership, handoffs } = node
    if (isForced && random.below(3) === 0) {
      trace(`FAULT somebody makes ${name} the primary by force`)
      membership.member.force().then(
        () => forced(machine),
        (error) => trace(`  ${name}: ${error.message}`),
      )
      return
    }
    trace(`FAULT somebody hands the role over to ${name}`)
    handoffs.promote().catch((error) => trace(`  ${name}: ${error.message}`))
  }

  /** All is well from here on. */
  end(): void {
    const { network, machines, store } = this.#context
    this.isOver = true
    for (const end of this.#sharedEnds) end()
    this.#sharedEnds.clear()
    network.mendAll()
    network.conditions = { latencyMs: [0.2, 2], lossRate: 0 }
    Object.assign(store, { isDown: false, slowMs: 0, lossRate: 0 })
    for (const machine of machines) {
      machine.disk.isFull = false
      machine.disk.syncMs = [0.1, 2]
      machine.node?.process.goOn()
      machine.start()
    }
  }
}
