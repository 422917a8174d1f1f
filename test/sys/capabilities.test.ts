import { expect, test } from "bun:test"
import { parseRights, rightsOf, rightToTrace } from "../../src/sys/process/capabilities.ts"

const status = (uid: number, permitted: string, effective = permitted) =>
  `Name:\tx\nUid:\t${uid}\t0\t0\t0\nCapPrm:\t${permitted}\nCapEff:\t${effective}\n`

test("what is missing to trace a process is what it has and the daemon has not", () => {
  const daemon = parseRights(status(0, "00000000a80425fb")) // as Docker gives them
  const withResource = parseRights(status(0, "00000000a90425fb"))
  const said = rightToTrace(daemon, [withResource])
  expect(said).toContain("they have CAP_SYS_RESOURCE, which it lacks; that or CAP_SYS_PTRACE")
  expect(rightToTrace(daemon, [daemon])).toEndWith("the right to reach them, CAP_SYS_PTRACE")
  const user = parseRights(status(1000, "0000000000000000"))
  expect(rightToTrace(user, [withResource])).toEndWith("the right to reach them, CAP_SYS_PTRACE")
  const tracer = parseRights(status(0, "0000000000080000"))
  expect(rightToTrace(tracer, [withResource])).toContain("though this daemon has CAP_SYS_PTRACE")
  expect(rightToTrace(daemon, [])).toContain("CAP_SYS_PTRACE")
})

test("rights are those of the system", () => {
  expect(rightsOf("self")?.uid).toBe(process.getuid?.() ?? -1)
  expect(rightsOf(2 ** 22 + 5)).toBeUndefined()
})
