import { expect, test } from "bun:test"
import { type Machine, obstacleOf, thisMachine } from "../../src/node/storage/passing.ts"
import { parseRights } from "../../src/sys/process/capabilities.ts"

const ALL = 0x1ffffffffffn
const SYS_PTRACE = 1n << 19n
const SYS_ADMIN = 1n << 21n

const withEffective = (effective: bigint) =>
  parseRights(`Uid:\t0\t0\nCapPrm:\t${ALL.toString(16)}\nCapEff:\t${effective.toString(16)}\n`)

const FREE: Machine = {
  rights: withEffective(ALL),
  ptraceScope: 1,
  canCopyDescriptors: true,
  seesAll: true,
  isShared: true,
}

test.each<[string, Partial<Machine>]>([
  ["a machine", {}],
  ["a container that shares its mount with nobody", { seesAll: false, isShared: false }],
  ["a kernel without Yama", { ptraceScope: undefined }],
  ["whoever has just the two capabilities", { rights: withEffective(SYS_ADMIN | SYS_PTRACE) }],
])("writers may pass on %s", (_, facts) => {
  expect(obstacleOf({ ...FREE, ...facts })).toBeUndefined()
})

const without = (bit: bigint) => ({ rights: withEffective(ALL & ~bit) })

test.each<[string, Partial<Machine>, RegExp]>([
  ["a process without CAP_SYS_ADMIN", without(SYS_ADMIN), /lacks CAP_SYS_ADMIN$/],
  ["one without CAP_SYS_PTRACE", without(SYS_PTRACE), /lacks CAP_SYS_PTRACE, and could not reach/],
  ["a machine where nobody traces", { ptraceScope: 3 }, /ptrace_scope is 3/],
  ["a filter of calls", { canCopyDescriptors: false }, /may not use pidfd_getfd\(2\)/],
  ["a mount that other containers have", { seesAll: false }, /^other containers may share/],
])("nobody passes on, or with, %s", (_, facts, reason) => {
  expect(obstacleOf({ ...FREE, ...facts })).toMatch(reason)
})

test("thisMachine() knows this process", () => {
  expect(thisMachine(true)).toMatchObject({ canCopyDescriptors: true, isShared: true })
})
