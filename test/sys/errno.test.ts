import { expect, test } from "bun:test"
import { Errno, SysError, systemProblem } from "../../src/sys/errno.ts"

test.each([
  [Errno.EMFILE, "Cannot open a file: too many open files (EMFILE)"],
  [Errno.ENOSPC, "Cannot open a file: no space left on device (ENOSPC)"],
  [200, "Cannot open a file: system error (errno 200)"],
])("SysError says what error %d means", (errno, message) => {
  expect(new SysError(errno, "x:open", "open a file").message).toBe(message)
})

test("systemProblem() says what to do when no more files can be opened", () => {
  const advice = "too many open files (EMFILE), raise the limit (ulimit -n)"
  const ours = new SysError(Errno.EMFILE, "x:open", "open a file")
  expect(systemProblem(ours)).toBe(`Cannot open a file: ${advice}`)
  const theirs = { code: "EMFILE", errno: -Errno.EMFILE, syscall: "listen", path: "/data/api.sock" }
  expect(systemProblem(Object.assign(new Error("listen"), theirs))).toBe(
    `Cannot listen "/data/api.sock": ${advice}`,
  )
})
