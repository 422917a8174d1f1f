/** Capabilities of processes: capabilities(7), the bits of /proc/[pid]/status. */
import { readFileSync } from "node:fs"
import { userId } from "../thread.ts"

/** Names, by bit. */
const NAMES = [
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE",
  "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO",
  "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME",
  "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG",
  "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE",
]
  .join(" ")
  .split(" ")

export const CHOWN = 1n << BigInt(NAMES.indexOf("CHOWN"))
const SYS_PTRACE = 1n << BigInt(NAMES.indexOf("SYS_PTRACE"))
const SYS_ADMIN = 1n << BigInt(NAMES.indexOf("SYS_ADMIN"))

export interface Rights {
  readonly uid: number
  readonly permitted: bigint
  readonly effective: bigint
}

/** Undefined when the process has ended. */
export function rightsOf(pid: number | "self"): Rights | undefined {
  try {
    return parseRights(readFileSync(`/proc/${pid}/status`, "utf8"))
  } catch {
    return undefined
  }
}

export function parseRights(status: string): Rights {
  const bits = (name: string) =>
    BigInt(`0x${new RegExp(`^${name}:\\s*(\\w+)$`, "m").exec(status)?.[1] ?? "0"}`)
  const uid = Number(/^Uid:\s*(\d+)/m.exec(status)?.[1] ?? userId())
  return { uid, permitted: bits("CapPrm"), effective: bits("CapEff") }
}

/** Whether it may use it. In a user namespace the kernel may see that otherwise. */
export function hasCapability({ effective }: Rights, name: "SYS_ADMIN" | "SYS_PTRACE"): boolean {
  return (effective & (name === "SYS_ADMIN" ? SYS_ADMIN : SYS_PTRACE)) !== 0n
}

/**
 * What a process that may not trace others lacks, for people. It may trace processes of the same user if it has all
 * their capabilities; others need CAP_SYS_PTRACE (Linux: cap_ptrace_access_check).
 */
export function rightToTrace(self: Rights, others: readonly Rights[]): string {
  if (hasCapability(self, "SYS_PTRACE")) {
    return "they are out of reach, though this daemon has CAP_SYS_PTRACE: another user namespace, or a rule of the system"
  }
  const lacked = others.reduce((all, { permitted }) => all | (permitted & ~self.effective), 0n)
  const isOneUser = others.length > 0 && others.every(({ uid }) => uid === self.uid)
  if (!isOneUser || lacked === 0n || (lacked & SYS_PTRACE) !== 0n) {
    return "this daemon lacks the right to reach them, CAP_SYS_PTRACE"
  }
  return `this daemon lacks the right to reach them: they have ${namesOf(lacked)}, which it lacks; that or CAP_SYS_PTRACE is missing`
}

function namesOf(bits: bigint): string {
  const names = NAMES.filter((_, bit) => (bits & (1n << BigInt(bit))) !== 0n)
  return names.length === 0 ? "others" : names.map((name) => `CAP_${name}`).join(", ")
}
