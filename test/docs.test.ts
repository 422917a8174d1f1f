/** The pages of docs/ speak of files that are there. */
import { describe, expect, test } from "bun:test"
import { existsSync, globSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { referencePage } from "../scripts/build-docs.ts"

const ROOT = join(import.meta.dirname, "..")
const PAGES = ["README.md", ...globSync("docs/*.md", { cwd: ROOT }).sort()]
const FILES = globSync("{src,test,scripts,packaging,docs}/**", { cwd: ROOT })

/** `src/lib/port.ts`, `scripts/bench-proxy`; not what ends in a wildcard. */
const PATH = /(?<![\w./-])(?:src|test|scripts|packaging)\/[\w./-]*\w(?![\w*/-])/g
/** `wal-tracker.ts`, in the same words as the sources say it: a file of that name is somewhere in src. */
const NAME = /(?<![\w./*-])[\w-]+\.ts\b/g
const LINK = /\]\((?!https?:|#)(?<target>[^)#]+)/g

function read(page: string): string {
  return readFileSync(join(ROOT, page), "utf8")
}

/** What of a page leads nowhere. */
function missing(text: string, directory: string): string[] {
  const paths = (text.match(PATH) ?? []).filter((path) => !existsSync(join(ROOT, path)))
  const names = (text.match(NAME) ?? []).filter(
    (name) => !FILES.some((file) => file.endsWith(`/${name}`)),
  )
  const links = [...text.matchAll(LINK)]
    .map(({ groups }) => groups?.target ?? "")
    .filter((target) => !existsSync(join(ROOT, directory, target)))
  return [...paths, ...names, ...links]
}

describe("docs", () => {
  test.each(PAGES)("%s names files that are there", (page) => {
    const text = read(page)
    expect(missing(text, dirname(page)).map((path) => `${page}: there is no ${path}`)).toEqual([])
  })

  test("every page names some", () => {
    const silent = PAGES.filter((page) => !page.endsWith("changelog.md")).filter(
      (page) => (read(page).match(PATH) ?? []).length < 5,
    )
    expect(silent).toEqual([])
  })

  test("a file that is not there is found, however it is named", () => {
    const text = "`src/lib/gone.ts`, gone.ts, scripts/gone, test/gone/*; [gone](gone.md)"
    const gone = ["src/lib/gone.ts", "scripts/gone", "gone.ts", "gone.md"]
    expect(missing(text, "docs")).toEqual(gone)
  })

  test("every folder of src is in the tree of docs/architecture.md", () => {
    const listed = new Set(
      read("docs/architecture.md")
        .match(/^ *src\/\S+/gm)
        ?.map((s) => s.trim()),
    )
    const folders = globSync("src/{*,*/*}/", { cwd: ROOT }).map((path) => path.replace(/\/$/, ""))
    expect(folders.length).toBeGreaterThan(20)
    expect(folders.filter((folder) => !listed.has(folder))).toEqual([])
  })

  test("docs/reference.md is what the code says", async () => {
    const isSame = read("docs/reference.md") === (await referencePage())
    expect(isSame ? "" : "run scripts/build-docs").toBe("")
  })

  test("docs/operations.md quotes what LiteFS prints", () => {
    const sources = globSync("src/**/*.ts", { cwd: ROOT }).map(read).join("\n")
    const printed = sources.replace(/["`] \+\s*["`]/g, "").replace(/\\"/g, '"')
    const rows =
      read("docs/operations.md")
        .split("## What must not")[0]
        ?.match(/^\| .*$/gm) ?? []
    const quotes = rows.flatMap((row) => row.split(" | ")[0]?.match(/`[^`]+`/g) ?? [])
    const fragments = quotes.flatMap((quote) => quote.slice(1, -1).split("…"))
    expect(fragments.length).toBeGreaterThan(30)
    expect(fragments.filter((each) => !printed.includes(each))).toEqual([])
  })

  test("every page is reached from the README", () => {
    const text = read("README.md")
    const pages = PAGES.filter((page) => page.startsWith("docs/"))
    expect(pages.length).toBeGreaterThan(3)
    expect(pages.filter((page) => !text.includes(`](${page})`))).toEqual([])
  })
})
