/**
 * The places that are compared. All keep their files in one directory, so on one file system:
 *
 *     ext4          the directory itself (or whatever file system it is on)
 *     fuse-native   passed through a daemon of Node that does nothing else: pass-through.mjs
 *     litefs        a primary; for what a replica shows, a pair
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, symlinkSync } from "node:fs"
import { join, resolve } from "node:path"
import { caughtUp } from "../../test/support/client.ts"
import type { Scope, TestNode } from "../../test/support/node.ts"
import { Client, cpuMsOf } from "./process.ts"
import type { SideName } from "./results.ts"

/** Where clients write, and where others see it. */
export interface Place {
  readonly written: string
  readonly seen: string
  /** Of what tells of transactions; only LiteFS does. */
  readonly url?: string
  /** Resolves when what was written is seen. */
  arrived(database: string): Promise<void>
  /** Requests of the kernel so far; undefined without a daemon. */
  requests(): Promise<number> | undefined
  /** CPU time of the daemons so far; undefined without one. */
  cpuMs(): number | undefined
}

export interface Side {
  readonly name: SideName
  readonly place: Place
  /** One whose reader may be another node. It goes on until the end: a node that has just started is slower. */
  shared(): Promise<Place>
  /** The file on the disk that has a database's pages. */
  backingOf(database: string): string
}

/** A directory of its own below the scope's. */
function directoryIn(scope: Scope, name: string): string {
  const path = join(scope.directory, name)
  mkdirSync(path)
  return path
}

export function plainSide(scope: Scope): Side {
  return directorySide("ext4", directoryIn(scope, "plain"), {
    requests: () => undefined,
    cpuMs: () => undefined,
  })
}

/** Throws when fuse-native cannot be loaded or cannot mount here. */
export async function peerSide(scope: Scope): Promise<Side> {
  const [backing, mount] = [directoryIn(scope, "backing"), directoryIn(scope, "pass-through")]
  const library = directoryIn(scope, "library")
  // The binding wants it by this name, and its package has it under another.
  const found = resolve("node_modules/fuse-shared-library-linux/libfuse/lib/libfuse.so")
  if (existsSync(found)) symlinkSync(found, join(library, "libfuse.so.2"))
  const LD_LIBRARY_PATH = [library, process.env.LD_LIBRARY_PATH].filter(Boolean).join(":")
  const daemon = new Client([join(import.meta.dir, "pass-through.mjs"), backing, mount], {
    LD_LIBRARY_PATH,
  })
  scope.defer(async () => {
    spawnSync("umount", ["-l", mount], { stdio: "ignore", timeout: 5000 })
    await daemon[Symbol.asyncDispose]()
  })
  const answer = await daemon.line()
  if (answer !== "mounted") throw new Error(answer)
  const side = directorySide("fuse-native", mount, {
    async requests() {
      daemon.tell()
      return Number(await daemon.line())
    },
    cpuMs: () => cpuMsOf(daemon.pid),
  })
  return { ...side, backingOf: (database) => join(backing, database) }
}

/** One directory, for writers and readers. */
function directorySide(
  name: SideName,
  directory: string,
  daemon: Pick<Place, "requests" | "cpuMs">,
): Side {
  const place: Place = {
    ...daemon,
    written: directory,
    seen: directory,
    arrived: async () => {},
  }
  return {
    name,
    place,
    shared: async () => place,
    backingOf: (database) => join(directory, database),
  }
}

export async function litefsSide(scope: Scope, flags: readonly string[]): Promise<Side> {
  const node = await scope.node({ flags })
  let pair: Promise<Place> | undefined
  return {
    name: "litefs",
    place: placeOf(node, node),
    shared: () => (pair ??= startPair(scope, flags)),
    backingOf: (database) => join(node.data, "dbs", database, "database"),
  }
}

async function startPair(scope: Scope, flags: readonly string[]): Promise<Place> {
  const primary = await scope.node({ flags })
  return placeOf(primary, await scope.node({ follows: primary, flags }))
}

function placeOf(primary: TestNode, replica: TestNode): Place {
  const nodes = [...new Set([primary, replica])]
  return {
    written: primary.mount,
    seen: replica.mount,
    url: replica.url,
    async arrived(database) {
      if (primary !== replica) await caughtUp(primary, replica, database, 60_000)
    },
    requests: async () => sum(await Promise.all(nodes.map(requestsOf))),
    cpuMs: () => sum(nodes.map(({ pid }) => cpuMsOf(pid))),
  }
}

async function requestsOf({ url }: TestNode): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text()
  return sum(
    [...metrics.matchAll(/^litefs_fuse_request_count\{.*\} (\d+)$/gm)].map(([, n]) => Number(n)),
  )
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
