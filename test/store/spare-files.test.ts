import { afterEach, describe, expect, test } from "bun:test"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { SharedFlags } from "../../src/store/shared-flags.ts"
import { SpareFiles } from "../../src/store/spare-files.ts"
import { Faults, setFaults } from "../../src/sys/faults.ts"
import { commit, LogDirectory, transaction } from "../support/log-directory.ts"

afterEach(() => setFaults(undefined))

/** The same files, as the thread that takes them and the one that makes them see them. */
function filesIn({ root }: LogDirectory): { taker: SpareFiles; maker: SpareFiles } {
  const flags = SharedFlags.create()
  return {
    taker: new SpareFiles(flags.spareFiles, root),
    maker: new SpareFiles(new SharedFlags(flags.memory).spareFiles, root),
  }
}

/** Takes until somebody is asked for more. */
function takeUntilAsked(files: SpareFiles): number {
  for (let count = 1; ; count++) {
    files.take()
    if (files.ask()) return count
  }
}

function makeAll(files: SpareFiles): void {
  while (files.make(100)) {}
}

function namesIn({ root }: LogDirectory): string[] {
  const directory = join(root, "spare")
  return existsSync(directory) ? readdirSync(directory) : []
}

function fail(text: string): void {
  setFaults(new Faults({ text, file: undefined, countFile: undefined }))
}

describe("SpareFiles", () => {
  test("SpareFiles are made when many were missed, not before, and more when they do not last", () => {
    using directory = new LogDirectory()
    const { taker, maker } = filesIn(directory)
    expect(maker.make(100)).toBe(false)
    expect(namesIn(directory)).toEqual([])
    expect(takeUntilAsked(taker)).toBe(64)
    expect(taker.ask()).toBe(false) // once is enough
    expect(maker.make(100)).toBe(true)
    expect(maker.make(100)).toBe(false)
    expect(namesIn(directory).length).toBe(128)
    expect(takeUntilAsked(taker)).toBe(64) // while there are some left
    makeAll(maker)
    for (let count = 0; count < 128; count++) taker.take()
    expect(taker.take()).toBeUndefined()
    for (const expected of [256, 512, 1024, 1024]) {
      expect(taker.ask()).toBe(true)
      makeAll(maker)
      let count = 0
      while (taker.take() !== undefined) count++
      expect(count).toBe(expected)
    }
  })

  test("SpareFiles.take() gives each file once", () => {
    using directory = new LogDirectory()
    const { taker, maker } = filesIn(directory)
    takeUntilAsked(taker)
    makeAll(maker)
    const paths = Array.from({ length: 128 }, () => taker.take())
    expect(new Set(paths).size).toBe(128)
    expect(paths.every((path) => path !== undefined && existsSync(path))).toBe(true)
    expect(taker.take()).toBeUndefined()
  })

  test("SpareFiles.make() says that it cannot, and may be asked again", () => {
    using directory = new LogDirectory()
    const { taker, maker } = filesIn(directory)
    takeUntilAsked(taker)
    fail("spare:open#5=ENOSPC")
    expect(() => maker.make(100)).toThrow(/no space left/)
    for (let count = 0; count < 4; count++) expect(taker.take()).toBeDefined()
    expect(taker.take()).toBeUndefined()
    expect(taker.ask()).toBe(true)
    makeAll(maker)
    expect(taker.take()).toBeDefined()
  })

  test("SpareFiles.removeLeftovers() removes what the last run has left", () => {
    using directory = new LogDirectory()
    const { maker } = filesIn(directory)
    maker.removeLeftovers() // there is no such directory
    mkdirSync(join(directory.root, "spare"))
    for (const name of ["7", "9"])
      writeFileSync(join(directory.root, "spare", name), "half a transaction")
    maker.removeLeftovers()
    expect(namesIn(directory)).toEqual([])
  })
})

describe("CommitLog with spare files", () => {
  function begin(directory: LogDirectory) {
    const { taker, maker } = filesIn(directory)
    takeUntilAsked(taker)
    makeAll(maker)
    return directory.open({ spares: taker })
  }

  test("CommitLog makes LTX files of spare files", () => {
    using directory = new LogDirectory("app.db")
    const log = begin(directory)
    for (let txid = 1; txid <= 130; txid++) {
      commit(log, directory, txid)
      log.makeFiles(true)
      const made = readFileSync(directory.ltxPath("app.db", txid))
      expect(made).toEqual(Buffer.from(transaction(txid)))
      expect(namesIn(directory).length).toBe(Math.max(0, 128 - txid))
    }
  })

  test("CommitLog makes LTX files of its own when somebody has removed the spare ones", () => {
    using directory = new LogDirectory("app.db")
    const log = begin(directory)
    rmSync(join(directory.root, "spare"), { recursive: true })
    for (let txid = 1; txid <= 3; txid++) commit(log, directory, txid)
    log.makeFiles(true)
    expect([1, 2, 3].every((txid) => directory.has("app.db", txid))).toBe(true)
  })

  test.each(["ltx:open-spare#1=EIO", "ltx:write#1=ENOSPC", "ltx:rename-spare#1=EIO"])(
    "CommitLog makes an LTX file of its own when a spare one fails (%s)",
    (faults) => {
      using directory = new LogDirectory("app.db")
      const log = begin(directory)
      commit(log, directory, 1)
      fail(faults)
      log.makeFiles(true)
      commit(log, directory, 2)
      log.makeFiles(true)
      for (const txid of [1, 2]) {
        expect(readFileSync(directory.ltxPath("app.db", txid))).toEqual(
          Buffer.from(transaction(txid)),
        )
      }
    },
  )

  test("CommitLog has a transaction of which neither file can be made, and makes one with the next", () => {
    using directory = new LogDirectory("app.db")
    const log = begin(directory)
    commit(log, directory, 1)
    fail("ltx:write#1-2=ENOSPC")
    expect(() => log.materialize("app.db")).toThrow(/no space left/)
    expect(directory.has("app.db", 1)).toBe(false)
    commit(log, directory, 2)
    log.makeFiles(true)
    expect([1, 2].every((txid) => directory.has("app.db", txid))).toBe(true)
  })

  test("CommitLog uses no spare file any more when they are on another file system", () => {
    using directory = new LogDirectory("app.db")
    const log = begin(directory)
    commit(log, directory, 1)
    fail("ltx:rename-spare#1+=EXDEV")
    log.makeFiles(true)
    const count = namesIn(directory).length
    for (let txid = 2; txid <= 200; txid++) commit(log, directory, txid)
    log.makeFiles(true)
    expect(directory.has("app.db", 200)).toBe(true)
    expect(namesIn(directory).length).toBe(count)
  })
})
