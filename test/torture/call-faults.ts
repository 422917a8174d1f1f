/**
 * The system calls that a node makes, and faults for each of them: two files that the node is started with
 * (sys/faults.ts).
 *
 * A call is one of a thread: "1/log:fsync" number 3 is the third of that name that thread 1 has made.
 */
import { appendFileSync, readFileSync, renameSync, writeFileSync } from "node:fs"

export interface Call {
  readonly name: string
  readonly nth: number // from 1
  /** Where in the program: `nth` counts the calls that are made there. Without one it counts all of the name. */
  readonly site?: string
}

/** The calls of a name that are made at one place. */
export interface SiteCalls {
  readonly name: string
  readonly site: string
  readonly count: number
}

/** Of many calls of a name that one statement makes, so many of the first and of the last. */
const LOOP_END_COUNT = 3

const MARK = "#"
/** All but the main thread and the two that a node has from its start. */
const LATER_THREAD = /^(?:[3-9]|\d\d+)\//

export class CallFaults {
  readonly #faults: string
  readonly countFile: string

  constructor(path: string) {
    this.#faults = `${path}-faults`
    this.countFile = `${path}-calls`
    writeFileSync(this.#faults, "")
    this.forget()
  }

  get env(): Record<string, string> {
    return { LITEFS_FAULTS_FILE: this.#faults, LITEFS_FAULTS_COUNT: this.countFile }
  }

  /** From here on calls are written down with the place where they are made, which takes time. */
  countSites(): void {
    this.set("sites")
  }

  /** From here on; counting starts anew. An empty text lifts all. */
  set(text: string): void {
    writeFileSync(`${this.#faults}.new`, text)
    renameSync(`${this.#faults}.new`, this.#faults)
  }

  /** The calls so far. */
  forget(): void {
    writeFileSync(this.countFile, "")
  }

  /** Another statement begins. */
  mark(): void {
    appendFileSync(this.countFile, `${MARK}\n`)
  }

  /** How many calls have failed since forget(). */
  get hitCount(): number {
    return this.#lines().filter((line) => line.endsWith("!")).length
  }

  /** The names, without the thread, of the calls since forget(). */
  get ops(): Set<string> {
    return new Set(
      this.#lines()
        .filter((line) => line !== MARK)
        .map((line) => line.replace(/^\d+\//, "").replace(/[@!].*/, "")),
    )
  }

  /** Calls since forget(): all, but the middle of a loop, as it is when a statement writes many pages. */
  chosen(): Call[] {
    const counts = new Map<string, number>()
    const chosen: Call[] = []
    let statement = new Map<string, Call[]>()
    const end = () => {
      for (const calls of statement.values()) {
        const isMiddle = (index: number) =>
          index >= LOOP_END_COUNT && index < calls.length - LOOP_END_COUNT
        chosen.push(...calls.filter((_, index) => !isMiddle(index)))
      }
      statement = new Map()
    }
    for (const line of this.#lines()) {
      if (line === MARK) {
        end()
        continue
      }
      const name = line.replace("!", "")
      const nth = (counts.get(name) ?? 0) + 1
      counts.set(name, nth)
      const calls = statement.get(name)
      if (calls === undefined) statement.set(name, [{ name, nth }])
      else calls.push({ name, nth })
    }
    end()
    return chosen
  }

  /** Calls since forget(), by name and place. A thread that is started when it is needed has another number each time. */
  sites(): SiteCalls[] {
    const counts = new Map<string, number>()
    for (const line of this.#lines()) {
      const place = line.replace("!", "").replace(LATER_THREAD, "*/")
      counts.set(place, (counts.get(place) ?? 0) + 1)
    }
    return [...counts].map(([place, count]) => {
      const [name = "", site = ""] = place.split("@")
      return { name, site, count }
    })
  }

  #lines(): string[] {
    return readFileSync(this.countFile, "utf8")
      .split("\n")
      .filter((line) => line !== "")
  }
}

export function changesNothing(name: string): boolean {
  return /:(read|look|list|stat)$/.test(name)
}

/** Calls that change nothing do not fail for want of room. */
export function errnosOf(name: string): readonly ("EIO" | "ENOSPC")[] {
  return changesNothing(name) ? ["EIO"] : ["EIO", "ENOSPC"]
}

/** Number `index`, from 0, of `count` parts of all faults. */
export interface Part {
  readonly index: number
  readonly count: number
}

/** Which part a fault is in does not depend on what others there are. */
export function isIn({ index, count }: Part = { index: 0, count: 1 }, fault: string): boolean {
  return Bun.hash.crc32(fault) % count === index
}
