import { describe, expect, test } from "bun:test"
import { type Owner, Ownership, ownerOf } from "../../src/capture/ownership.ts"
import { testRandom } from "../support/random.ts"

const NAMES = ["a", "b", "c"]

/** What the two threads and the main thread know of who has what. */
class Node {
  isPrimary = true
  readonly lent = new Set<string>()
  readonly threads = { fs: new Ownership(true), peer: new Ownership(false) }

  get home(): Ownership {
    return this.threads[ownerOf(this.isPrimary, false)]
  }

  get guest(): Ownership {
    return this.threads[ownerOf(this.isPrimary, true)]
  }

  ownersOf(name: string): Owner[] {
    return (["fs", "peer"] as const).filter((thread) => this.threads[thread].has(name))
  }
}

describe("Ownership", () => {
  test("gives every database one owner, and none while it is on its way", () => {
    const random = testRandom()
    const node = new Node()
    for (let i = 0; i < 500; i++) {
      const name = random.pick(NAMES)
      const isLent = node.lent.has(name)
      if (random.below(4) === 0 && node.lent.size === 0) {
        const { home, guest } = node
        home.handOver()
        for (const each of NAMES) expect(node.ownersOf(each)).toEqual([])
        // The other thread cannot, and the role stays.
        const isRefused = random.below(2) === 0
        if (isRefused) home.inherit()
        else guest.inherit()
        if (!isRefused) node.isPrimary = !node.isPrimary
      } else if (isLent) {
        node.guest.giveBack(name)
        expect(node.ownersOf(name)).toEqual([])
        node.home.takeBack(name)
        node.lent.delete(name)
      } else {
        node.home.lend(name)
        expect(node.ownersOf(name)).toEqual([])
        node.guest.borrow(name)
        node.lent.add(name)
      }
      for (const each of NAMES) {
        expect(node.ownersOf(each)).toEqual([ownerOf(node.isPrimary, node.lent.has(each))])
      }
    }
  })

  test.each([
    [true, false, "fs"],
    [true, true, "peer"],
    [false, false, "peer"],
    [false, true, "fs"],
  ] as const)("ownerOf(isPrimary %p, isLent %p) is %s", (isPrimary, isLent, owner) => {
    expect(ownerOf(isPrimary, isLent)).toBe(owner)
  })
})
