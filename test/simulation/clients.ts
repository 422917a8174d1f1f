/**
 * Programs of the simulation that write: one on each machine, for each database, one transaction after the other. On a
 * replica some of them borrow the write lock of the primary first. A program ends with the node that it writes to, and
 * another one begins with the next.
 */
import type { Pos } from "../../src/ltx/pos.ts"
import type { Random } from "../support/random.ts"
import type { Machine, Node } from "./node.ts"
import { PAGE_COUNT } from "./pages.ts"
import type { Scheduler } from "./scheduler.ts"

export interface ClientsContext {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly machines: readonly Machine[]
  readonly databases: readonly string[]
  /** Between two transactions of a program. */
  readonly pauseMs: number
  /** Of the programs on replicas, how many borrow. */
  readonly borrowRate: number
  answered(node: Node, database: string, pos: Pos): void
}

interface Waiting {
  readonly node: Node
  readonly what: string
  readonly sinceMs: number
}

export class Clients {
  okCount = 0
  failedCount = 0
  borrowedCount = 0
  isOver = false
  readonly #context: ClientsContext
  readonly #waiting = new Set<Waiting>()
  #number = 0

  constructor(context: ClientsContext) {
    this.#context = context
  }

  start(): void {
    const { machines, databases } = this.#context
    for (const machine of machines) {
      for (const database of databases) this.#later(() => this.#turn(machine, database))
    }
  }

  /** What programs wait for, of nodes that live. */
  waiting(): string[] {
    const { nowMs } = this.#context.scheduler
    return [...this.#waiting]
      .filter(({ node }) => node.process.isAlive)
      .map(({ node, what, sinceMs }) => {
        return `${node.process.name}: ${what}, for ${((nowMs - sinceMs) / 1000).toFixed(1)} s`
      })
  }

  #later(act: () => void): void {
    const { scheduler, random, pauseMs } = this.#context
    scheduler.after(pauseMs * (0.5 + random.u32() / 2 ** 32), () => {
      if (!this.isOver) act()
    })
  }

  #turn(machine: Machine, database: string): void {
    const again = () => this.#later(() => this.#turn(machine, database))
    const { node } = machine
    if (node === undefined || node.process.isStopped) return again()
    const { random, borrowRate } = this.#context
    if (node.membership.member.isPrimary) return this.#write(node, database, again)
    if (random.u32() < borrowRate * 2 ** 32) this.#borrow(node, database, again)
    else again()
  }

  #borrow(node: Node, database: string, again: () => void): void {
    const end = this.#wait(node, `flock of ${database}`, again)
    node.fs.borrow(database, (code) => {
      if (code !== undefined) {
        this.failedCount += 1
        return end()
      }
      this.#write(node, database, () => {
        node.fs.giveBack(database)
        this.borrowedCount += 1
        end()
      })
    })
  }

  #write(node: Node, database: string, again: () => void): void {
    const { random, answered } = this.#context
    this.#number += 1
    const number = this.#number
    const end = this.#wait(node, `commit ${number} of ${database}`, again)
    const page = 2 + random.below(PAGE_COUNT - 1)
    node.fs.write({ database, page, number }, ({ errno, isBusy, pos }) => {
      if (!isBusy && errno === 0 && pos !== undefined) {
        this.okCount += 1
        answered(node, database, pos)
      } else if (!isBusy) this.failedCount += 1
      end()
    })
  }

  /** The program goes on when the result is called, or when its node has ended. */
  #wait(node: Node, what: string, again: () => void): () => void {
    const waiting = { node, what, sinceMs: this.#context.scheduler.nowMs }
    this.#waiting.add(waiting)
    let isOver = false
    const end = () => {
      if (isOver) return
      isOver = true
      this.#waiting.delete(waiting)
      again()
    }
    this.#whenGone(node, end, () => isOver)
    return end
  }

  #whenGone(node: Node, act: () => void, isOver: () => boolean): void {
    this.#context.scheduler.after(1000, () => {
      if (isOver()) return
      if (node.process.isAlive) this.#whenGone(node, act, isOver)
      else act()
    })
  }
}
