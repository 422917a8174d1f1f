/** The flags that say who may use the mount, and how, and the access of its databases that no client makes. */
import { readFileSync } from "node:fs"
import type { LiteFSOptions } from "../../litefs-options.ts"
import { CHOWN, rightsOf } from "../../sys/process/capabilities.ts"
import type { ParsedArgs } from "../terminal/argv.ts"
import { type FlagTable, Unfit } from "../terminal/flags.ts"

export const FUSE_FLAGS = {
  "allow-other": {
    kind: "boolean",
    help: "other users may use the mount, as modes allow (default: when run by root)",
    more: "`--allow-other=false`: nobody but LiteFS's own user may use the mount, not even root. It lets others in when that user is not root",
  },
  "fuse-owner": {
    kind: "special",
    placeholder: "USER[:GROUP]",
    read: ownerOf,
    help: "the owner of databases that arrive here (default: that of --fuse-dir)",
  },
  "fuse-mode": {
    kind: "special",
    placeholder: "MODE",
    read: modeOf,
    help: "the mode of databases that arrive here, like 0660 (default: from --fuse-dir)",
  },
  "read-only-opens": {
    kind: "boolean",
    help: "what is opened on a replica stays read-only (default: unless it is a candidate)",
    more: "until it is opened anew; else its writes fail with another error",
  },
  capture: {
    kind: "choice",
    choices: ["auto", "behind", "strict"],
    default: "auto",
    help: "how commits to a WAL are captured: behind their writers, or before they are done",
    more: "`behind`: [writers of a WAL pass LiteFS](guide.md#writers-that-pass-litefs) while this node is the primary, and NORMAL means what it means in SQLite; `strict`: NORMAL is as durable as FULL, and each write asks LiteFS; `auto`: `behind` where the kernel and the rights of LiteFS allow it",
  },
} as const satisfies FlagTable

type FuseArgs = ParsedArgs<typeof FUSE_FLAGS>
type FuseOptions = Pick<LiteFSOptions, "allowOther" | "fuseOwner" | "fuseMode" | "readOnlyOpens">

export function fuseOptions(args: FuseArgs): FuseOptions {
  const { values } = args
  const owner = values["fuse-owner"]
  const mode = values["fuse-mode"]
  if (owner !== undefined && !mayGiveTo(owner)) {
    const given = `${args.spelling("fuse-owner")} is "${args.texts("fuse-owner")[0]}"`
    const who = `this user (${process.geteuid?.()}) may not give files to others`
    throw args.usageError(`${given}, ${who}, run it as root or leave the flag out`)
  }
  return {
    ...(args.isGiven("allow-other") ? { allowOther: values["allow-other"] } : {}),
    ...(args.isGiven("read-only-opens") ? { readOnlyOpens: values["read-only-opens"] } : {}),
    ...(owner === undefined ? {} : { fuseOwner: owner }),
    ...(mode === undefined ? {} : { fuseMode: mode }),
  }
}

/** chown(2): to others with CAP_CHOWN, else to our own user, and groups that we are in. */
function mayGiveTo({ uid, gid }: { readonly uid: number; readonly gid: number }): boolean {
  if (((rightsOf("self")?.effective ?? 0n) & CHOWN) !== 0n) return true
  const groups = [process.getegid?.(), ...(process.getgroups?.() ?? [])]
  return uid === process.geteuid?.() && groups.includes(gid)
}

function modeOf(text: string): number {
  // An owner of a database who may not write to it cannot use it.
  if (/^0{0,2}[67][0-7]{2}$/.test(text)) return Number.parseInt(text, 8) & 0o666
  const shape = "three octal digits with which the owner reads and writes, like 0660"
  throw new Unfit(`it should be ${shape}`)
}

/** Looks names up where every system without a directory service has them. */
function ownerOf(text: string): { uid: number; gid: number } {
  const match = /^(?<user>[^:]+)(?::(?<group>[^:]+))?$/.exec(text)
  if (match === null) throw new Unfit("it should be USER or USER:GROUP, like app or 1000:1000")
  const { user = "", group } = match.groups ?? {}
  const line = entries("/etc/passwd").find((fields) => fields[0] === user || fields[2] === user)
  const uid = numberOf(user) ?? numberOf(line?.[2])
  if (uid === undefined) throw new Unfit(`there is no user "${user}" in /etc/passwd`)
  if (group === undefined) {
    const gid = numberOf(line?.[3])
    if (gid === undefined) throw new Unfit(`/etc/passwd has no group for it, write ${user}:GROUP`)
    return { uid, gid }
  }
  const gid =
    numberOf(group) ?? numberOf(entries("/etc/group").find(([name]) => name === group)?.[2])
  if (gid === undefined) throw new Unfit(`there is no group "${group}" in /etc/group`)
  return { uid, gid }
}

const ID_MAX = 0xfffffffe // the next one means "leave it" to chown(2)

function numberOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined
  return Number(text) <= ID_MAX ? Number(text) : undefined
}

function entries(path: string): string[][] {
  try {
    return readFileSync(path, "utf8")
      .split("\n")
      .map((line) => line.split(":"))
  } catch {
    return [] // an image without users
  }
}
