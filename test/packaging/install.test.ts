/** `install.sh` of a release: what it installs is what it has the sums of. */
import { describe, expect, test } from "bun:test"
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

const TEMPLATE = join(import.meta.dirname, "../../packaging/install.sh")
/** What litefs prints is tested elsewhere. */
const PROGRAM =
  '#!/bin/sh\nif [ "$1" = version ]; then echo "litefs 1.2.3"; else echo "text of $*"; fi\n'

/** A release of scripts that say a version, and a place to install to. */
function release(directory: TemporaryDirectory) {
  const [from, to] = [join(directory.path, "release"), join(directory.path, "bin")]
  for (const each of [from, to]) mkdirSync(each)
  const sums: string[] = []
  for (const name of ["x64", "arm64", "x64-small", "arm64-small"]) {
    const content = `${PROGRAM}# ${name}\n`
    writeFileSync(join(from, `litefs-linux-${name}`), content)
    const sum = createHash("sha256").update(content).digest("hex")
    sums.push(`${sum}  litefs-linux-${name}`)
  }
  const installer = readFileSync(TEMPLATE, "utf8").replace("@SUMS@", sums.join("\n"))
  writeFileSync(join(from, "install.sh"), installer)
  return {
    from,
    to,
    install(...args: string[]) {
      const command = [join(from, "install.sh"), "--to", to, ...args]
      const { status, stdout, stderr } = spawnSync("sh", command, { encoding: "utf8" })
      return { status, stdout, stderr }
    },
  }
}

describe("install.sh", () => {
  test.each(["", "-small"])("installs the file for this machine: %p", (suffix) => {
    using directory = new TemporaryDirectory()
    const { install, to } = release(directory)
    const name = `${process.arch}${suffix}`
    expect(install(...(suffix === "" ? [] : [`-${suffix}`]))).toEqual({
      status: 0,
      stdout: `installed ${to}/litefs: litefs 1.2.3\n`,
      stderr: "",
    })
    expect(readFileSync(join(to, "litefs"), "utf8")).toContain(`# ${name}\n`)
    expect(readdirSync(to)).toEqual(["litefs"])
  })

  test("installs nothing whose sum is another, and leaves what was there", () => {
    using directory = new TemporaryDirectory()
    const { install, from, to } = release(directory)
    writeFileSync(join(to, "litefs"), "old")
    writeFileSync(join(from, `litefs-linux-${process.arch}`), PROGRAM)
    const { status, stdout, stderr } = install()
    expect([status, stdout]).toEqual([1, ""])
    expect(stderr).toMatch(
      /^ERROR: Cannot install LiteFS: the sum of litefs-linux-\w+ is [0-9a-f]{64}, it should be [0-9a-f]{64}\n$/,
    )
    expect(readdirSync(to)).toEqual(["litefs"])
    expect(readFileSync(join(to, "litefs"), "utf8")).toBe("old")
  })

  test("says what is wrong with its words", () => {
    using directory = new TemporaryDirectory()
    const { install, to } = release(directory)
    expect(install("--big")).toEqual({
      status: 2,
      stdout: "",
      stderr:
        'ERROR: Cannot install LiteFS: "--big" is unknown; --small, --glibc, --to DIR, --from DIR_OR_URL and --bare are known\n',
    })
    expect(install("--from").status).toBe(2)
    expect(install("--glibc").stderr).toContain(
      `this release has no litefs-linux-${process.arch}-glibc\n`,
    )
    expect(install("--to", "/none").stderr).toContain("create it with: mkdir -p /none\n")
    expect(existsSync(join(to, "litefs"))).toBe(false)
  })

  test("installs the manual page and completion, where programs look for them", () => {
    using directory = new TemporaryDirectory()
    const { install, to } = release(directory)
    const share = join(directory.path, "share")
    mkdirSync(share)
    expect(install("--bare").stdout).toBe(`installed ${to}/litefs: litefs 1.2.3\n`)
    expect(readdirSync(share)).toEqual([])
    for (const _ of ["first", "again"]) {
      expect(install()).toEqual({
        status: 0,
        stdout: `installed ${to}/litefs: litefs 1.2.3\ninstalled the manual page, and completion for bash, zsh and fish, below ${share}\n`,
        stderr: "",
      })
    }
    expect(filesBelow(share)).toEqual({
      "bash-completion/completions/litefs": "text of completion bash\n",
      "fish/vendor_completions.d/litefs.fish": "text of completion fish\n",
      "man/man1/litefs.1": "text of man\n",
      "zsh/site-functions/_litefs": "text of completion zsh\n",
    })
  })

  test("has installed the program all the same where the manual page has no place", () => {
    using directory = new TemporaryDirectory()
    const { install, to } = release(directory)
    const share = join(directory.path, "share")
    mkdirSync(share)
    writeFileSync(join(share, "zsh"), "a file")
    const { status, stdout, stderr } = install()
    expect([status, stdout]).toEqual([0, `installed ${to}/litefs: litefs 1.2.3\n`])
    expect(stderr).toContain("the manual page and completion are not all installed, see above")
    expect(readdirSync(to)).toEqual(["litefs"])
  })
})

function filesBelow(directory: string): Record<string, string> {
  const names = readdirSync(directory, { recursive: true, withFileTypes: true })
  const paths = names
    .filter((each) => each.isFile())
    .map((each) => join(each.parentPath, each.name))
  return Object.fromEntries(
    paths.sort().map((path) => [path.slice(directory.length + 1), readFileSync(path, "utf8")]),
  )
}
