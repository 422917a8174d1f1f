import { expect, test } from "bun:test"
import { Errno, SysError } from "../../src/sys/errno.ts"

test.each([
  [Errno.EMFILE, "Cannot open a file: too many open files (EMFILE)"],
  [Errno.ENOSPC, "Cannot open a file: no space left on device (ENOSPC)"],
  [200, "Cannot open a file: system error (errno 200)"],
])("SysError says what error %d means", (errno, message) => {
  expect(new SysError(errno, "x:open", "open a file").message).toBe(message)
})
