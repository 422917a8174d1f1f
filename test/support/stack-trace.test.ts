import { expect, test } from "bun:test"
import { refuseStackTrace } from "./stack-trace.ts"

test.each([
  "ERROR: x\nSysError: x\n    at B (/$bunfs/root/litefs:3:5811)\n    at C (y)\n",
  'level=error tag=a msg=b error="Error: x\\n    at f (/$bunfs/root/litefs:1:2)"\n',
  "Error: x\n    at run (/work/litefs/src/cli/mount.ts:12:3)\n",
])("refuseStackTrace() finds that of %j", (output) => {
  expect(() => refuseStackTrace(output, "it")).toThrow(/^it has told/)
})

test.each(["level=info msg=at\n", "    at noon\n", "Error: x\n    at app (/srv/app.js:1:2)\n"])(
  "refuseStackTrace() lets %j pass",
  (output) => refuseStackTrace(output, "it"),
)
