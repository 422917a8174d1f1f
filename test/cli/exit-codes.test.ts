import { describe, expect, test } from "bun:test"
import { run } from "../../src/cli/main-command.ts"
import { FakeIo } from "../support/fake-io.ts"

const MOUNT = ["mount", "--primary", "--fuse-dir", "/dev/null/mnt", "--data-dir", "/dev/null/data"]
const NODE = ["--url", "unix:/no/such.sock"]

async function outcome(words: readonly string[]) {
  const io = new FakeIo()
  const code = await run([...words], io)
  return { code, err: io.err }
}

describe("the exit code is 1 when what was named is not there", () => {
  test.each([
    [["mount", "--config", "/no/such.yml"]],
    [["mount", "--config", "/tmp"]],
    [[...MOUNT, "--auth-token-file", "/no/token"]],
    [MOUNT],
    ...["info", "promote"].map((name) => [[name, "--config", "/no/such.yml"]]),
    ...["info", "promote"].map((name) => [[name, ...NODE]]),
    [["wait", "--synced", "--config", "/no/such.yml"]],
    [["info", "--auth-token-file", "/no/token"]],
    [["run", "--if-primary", ...NODE, "--", "true"]],
    [["run", "--config", "/no/such.yml", "--", "true"]],
    [["import", "--name", "a.db", "/no/such.db"]],
    [["import", "--name", "a.db", "--config", "/no/such.yml", "/no/such.db"]],
    [["export", "--name", "a.db", ...NODE, "/tmp/never.db"]],
    [["sql", "--fuse-dir", "/no/mnt", "a.db", "select 1"]],
    [["sql", "/no/mnt/a.db", "select 1"]],
    [["ltx", "dump", "/no/such.ltx"]],
    [["ltx", "verify", "/no/such.ltx"]],
    [["ltx", "list", "/no/such"]],
    [["ltx", "apply", "--output", "/no/out.db", "/no/such.ltx"]],
    [["ltx", "compact", "--output", "/no/out.ltx", "/no/such.ltx"]],
    [["doctor", "--data-dir", "/no/data"]],
    [["diverged", "list", "--data-dir", "/no/data"]],
    [["diverged", "export", "--data-dir", "/no/data", "x", "/no/out"]],
  ] as [string[]][])("litefs %j", async (words) => {
    const { code, err } = await outcome(words)
    expect({ code, err }).toEqual({
      code: 1,
      err: expect.stringMatching(/^(.*\n)?ERROR: Cannot /s),
    })
  })
})

describe("the exit code is 2 when a value can be nothing", () => {
  test.each([
    [[...MOUNT, "--stop-timeout", "-5s"], '--stop-timeout is "-5s"'],
    [[...MOUNT, "--stop-timeout=-5s"], '--stop-timeout is "-5s"'],
    [[...MOUNT, "--sync-replicas", "-1"], '--sync-replicas is "-1"'],
    [[...MOUNT, "--retention", "-.5h"], '--retention is "-.5h"'],
    [
      [...MOUNT, "--hostname", "-a"],
      "--hostname has no value, write --hostname=-a if that is meant",
    ],
    [[...MOUNT, "--hostname", "--candidate"], "--hostname has no value, write --hostname=VALUE"],
    [["wait", "--synced", "--timeout", "-1s"], '--timeout is "-1s"'],
    [["info", "--url", "-1"], '--url is "-1"'],
    [["sql", "--busy-timeout", "-1s", "a.db"], '--busy-timeout is "-1s"'],
    [["export", "--name", "../a.db", "x"], "--name"],
    [["doctor", "--bogus"], "there is no flag --bogus"],
    [["diverged", "export", "x"], "no NAME OUT is given"],
    [["ltx", "apply", "x"], "no --output FILE is given"],
  ] as [string[], string][])("litefs %j", async (words, problem) => {
    const { code, err } = await outcome(words)
    expect(code).toBe(2)
    expect(err).toStartWith("ERROR: Cannot run litefs ")
    expect(err).toContain(problem)
  })
})
