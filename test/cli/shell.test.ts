/** Completion in real shells, and the manual page as groff reads it. */
import { expect, test } from "bun:test"
import { spawnSync } from "node:child_process"
import { COMMANDS } from "../../src/cli/commands.ts"
import { run } from "../../src/cli/main-command.ts"
import { FakeIo } from "../support/fake-io.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

async function printed(...words: string[]): Promise<string> {
  const io = new FakeIo()
  expect([await run(words, io), io.err]).toEqual([0, ""])
  return io.out
}

function has(program: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${program}`]).status === 0
}

/** groff strikes a letter twice to make it bold. */
const BACK = "\u0008"
const BOLD = new RegExp(`.${BACK}`, "g")

/** The last word is the one that is completed. */
const CASES: [line: string, among: string[], not: string[]][] = [
  ["litefs mo", ["mount"], ["info"]],
  ["litefs mount --primary", ["--primary", "--primary-url"], ["--peer"]],
  ["litefs mount --log-level t", ["trace"], ["debug"]],
  ["litefs ltx v", ["verify"], ["list"]],
  ["litefs ltx dump --pa", ["--pages"], ["--json"]],
  ["litefs config check --candi", ["--candidate"], []],
  ["litefs export --name ap", ["app.db"], ["app.db-wal"]],
  ["litefs sql ap", ["app.db"], ["app.db-wal"]],
  ["litefs help pro", ["promote"], ["mount"]],
]

const ASK: Readonly<Record<string, (path: string, line: string) => string[]>> = {
  bash: (path, line) => [
    "bash",
    "-c",
    `compopt() { :; }; source '${path}'; COMP_WORDS=(${line}); COMP_CWORD=$(( \${#COMP_WORDS[@]} - 1 ))
_litefs; printf '%s\\n' "\${COMPREPLY[@]}"`,
  ],
  fish: (path, line) => [
    "fish",
    "-c",
    `source '${path}'; complete -C '${line}' | string split -f1 \\t`,
  ],
}

for (const [shell, ask] of Object.entries(ASK)) {
  test.skipIf(!has(shell))(`completion in ${shell}`, async () => {
    using directory = new TemporaryDirectory()
    const script = directory.write("script", await printed("completion", shell))
    directory.write("app.db", "")
    directory.write("app.db-wal", "")
    for (const [line, among, not] of CASES) {
      const [program = "", ...words] = ask(script, line)
      const env = { ...process.env, LITEFS_FUSE_DIR: directory.path, HOME: directory.path }
      const { stdout, stderr } = spawnSync(program, words, {
        env,
        cwd: directory.path,
        encoding: "utf8",
      })
      const offered = stdout.trim().split("\n")
      expect({ line, stderr }).toEqual({ line, stderr: "" })
      expect(offered).toEqual(expect.arrayContaining(among))
      for (const each of not) expect(offered).not.toContain(each)
    }
  })
}

test.skipIf(!has("bash"))(
  "bash completes the value of --flag=, and what runs beside a node",
  async () => {
    using directory = new TemporaryDirectory()
    const script = directory.write("script", await printed("completion", "bash"))
    const offered = (words: string) =>
      spawnSync(
        "bash",
        [
          "-c",
          `compopt() { :; }; source ${script}; COMP_WORDS=(${words}); COMP_CWORD=$(( \${#COMP_WORDS[@]} - 1 )); _litefs; printf '%s\\n' "\${COMPREPLY[@]}"`,
        ],
        { encoding: "utf8" },
      )
        .stdout.trim()
        .split("\n")
    expect(offered("litefs mount --log-level = d")).toEqual(["debug"])
    expect(offered("litefs mount --primary -- bas")).toContain("bash")
  },
)

test.skipIf(!has("zsh"))("zsh takes its script, which has every command and flag", async () => {
  using directory = new TemporaryDirectory()
  const text = await printed("completion", "zsh")
  const script = directory.write("_litefs", text)
  const { status, stderr } = spawnSync("zsh", ["-n", script], { encoding: "utf8" })
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" })
  for (const name of Object.keys(COMMANDS)) expect(text).toContain(`'${name}:`)
  expect(text).toContain("--sync-replicas=[")
})

test("of another shell is refused", async () => {
  const io = new FakeIo()
  expect(await run(["completion", "csh"], io)).toBe(2)
  expect(io.err).toBe(
    'ERROR: Cannot run litefs completion: "csh" is not a shell known here, there are bash, zsh, fish\n',
  )
})

test.skipIf(!has("groff"))("groff reads the manual page without a warning", async () => {
  const page = await printed("man")
  const { stdout, stderr } = spawnSync("groff", ["-man", "-Tutf8", "-ww", "-P-c"], {
    input: page,
    encoding: "utf8",
  })
  expect(stderr).toBe("")
  const text = stdout.replace(BOLD, "")
  for (const [name, { load }] of Object.entries(COMMANDS)) {
    expect(text).toContain(name)
    for (const flag of Object.keys((await load()).parts.flags)) expect(text).toContain(`--${flag}`)
  }
  expect(text).toContain("EXIT STATUS")
})

test("there is a page for each command, and none for others", async () => {
  expect(await printed("man", "mount")).toStartWith('.TH "LITEFS-MOUNT" 1')
  const io = new FakeIo()
  expect(await run(["man", "mouse"], io)).toBe(2)
  expect(io.err).toContain('Cannot show a page for "mouse": there is no such command')
})
