import { describe, expect, test } from "bun:test"
import { MODES } from "./model.ts"
import { SiteChoice } from "./site-choice.ts"
import { DURATIONS, type Fault, failuresOf, faultOf, textOf } from "./sweep.ts"

const LOOP = { name: "2/database:write", site: "abc", count: 1000 }
const ONCE = { name: "2/database:write", site: "def", count: 1 }
const READ = { name: "2/database:read", site: "ghi", count: 2 }
const options = { seed: 90, durations: DURATIONS }

describe("SiteChoice", () => {
  test("it has everything go wrong at a place where nobody has been", () => {
    for (const { name, site, count } of [LOOP, ONCE, READ]) {
      const faults = new SiteChoice(options).faultsOf("import", "delete", [{ name, site, count }])
      const first = faults.filter(({ nth }) => nth === 1).map(({ duration }) => duration)
      const may = failuresOf(name, DURATIONS).map(({ duration }) => duration)
      expect(first).toEqual([...new Set(may)])
      const others = faults.filter(({ nth }) => nth > 1).map(({ nth }) => nth)
      expect(others).toHaveLength(Math.min(count, 3) - 1)
      expect(others.at(-1) ?? 1).toBe(count)
    }
  })

  test("it has one thing go wrong where others have been, and once more in the other modes", () => {
    const choice = new SiteChoice(options)
    const sites: (string | undefined)[] = []
    choice.faultsOf("import", "delete", [LOOP, READ])
    const faults = choice.faultsOf("handoff", "delete", [LOOP, ONCE, READ])
    expect(faults.map(({ site }) => site)).toEqual([
      LOOP.site,
      ...DURATIONS.map(() => ONCE.site),
      READ.site,
    ])
    for (const mode of MODES.slice(1)) {
      for (const { site } of choice.faultsOf("handoff", mode, [LOOP, ONCE, READ])) sites.push(site)
    }
    expect(sites.sort()).toEqual([LOOP, ONCE, READ].map(({ site }) => site))
    expect(choice.faultsOf("large", "delete", [LOOP, ONCE, READ], { onlyNew: true })).toEqual([])
  })

  test("it has everything go wrong everywhere when it is told", () => {
    const choice = new SiteChoice({ ...options, isEvery: true })
    for (const label of ["import", "handoff"])
      expect(choice.faultsOf(label, "delete", [LOOP])).toHaveLength(7 * LOOP.count)
  })

  test("it has the fault that a failure has named", () => {
    const [fault] = new SiteChoice(options).faultsOf("import", "delete", [LOOP])
    const only = textOf(fault as Fault)
    for (const mode of MODES)
      expect(new SiteChoice({ ...options, only }).faultsOf("import", mode, [])).toEqual([
        fault as Fault,
      ])
    expect(faultOf("database:write")).toBeUndefined()
  })

  test("a seed repeats it, whatever other places there are", () => {
    const textsOf = (seed: number, ...before: (typeof LOOP)[]) =>
      new SiteChoice({ ...options, seed })
        .faultsOf("import", "delete", [...before, LOOP])
        .filter(({ site }) => site === LOOP.site)
        .map(textOf)
    expect(textsOf(90, ONCE, READ)).toEqual(textsOf(90))
    expect(textsOf(91)).not.toEqual(textsOf(90))
  })
})
