/**
 * Has the kernel tell processes to end when this one dies, also by SIGKILL: prctl(PR_SET_PDEATHSIG), which a process
 * can only request for itself. A program of a hundred bytes requests it, and then becomes the wanted program:
 *   prctl(PR_SET_PDEATHSIG, SIGTERM)
 *   if (getppid() != PID) exit(126)              we have died in the meantime
 *   execve(argv[1], &argv[2], envp)
 *   exit(126)
 *
 * It lives only in memory (memfd_create(2)), and takes a fraction of a millisecond. It is tried once, and not used
 * where it does not work: on other machines, or where nothing may run from memory. The signal is SIGTERM, because a
 * command that started others (`npm`, `sh`) can pass it on.
 *
 * The kernel forgets the signal when the process changes its user, or becomes a program that does (set-user-ID).
 */
import { spawnSync } from "node:child_process"
import { accessSync, closeSync, constants, openSync, readSync, statSync, writeSync } from "node:fs"
import { join } from "node:path"
import { libc } from "../libc.ts"
import { pathAddress } from "../path.ts"

interface Machine {
  readonly elfMachine: number
  readonly memfdCreate: number // number of the system call
  readonly code: string
  /** Offset of our PID in the code, i32. */
  readonly pidOffset: number
}

const MACHINES: Readonly<Partial<Record<string, Machine>>> = {
  x64: {
    elfMachine: 62,
    memfdCreate: 319,
    code: [
      "bf01000000be0f000000b89d0000000f05", // mov edi,1; mov esi,15; mov eax,157; syscall
      "b86e0000000f053d00000000751a", // mov eax,110; syscall; cmp eax,PID; jne exit
      "488b0c24488b7c2410488d742418488d54cc10", // mov rcx,[rsp]; mov rdi,[rsp+16]; lea rsi,[rsp+24]; lea rdx,[rsp+rcx*8+16]
      "b83b0000000f05", // mov eax,59; syscall
      "bf7e000000b83c0000000f05", // exit: mov edi,126; mov eax,60; syscall
    ].join(""),
    pidOffset: 0x19,
  },
  arm64: {
    elfMachine: 183,
    memfdCreate: 279,
    code: [
      "200080d2e10180d2e81480d2010000d4", // mov x0,1; mov x1,15; mov x8,167; svc 0
      "a81580d2010000d4a10100181f00016b01010054", // mov x8,173; svc 0; ldr w1,PID; cmp w0,w1; b.ne exit
      "e20340f9e00b40f9e1630091e26f228b42400091", // ldr x2,[sp]; ldr x0,[sp,16]; add x1,sp,24; add x2,sp,x2,lsl 3; add x2,x2,16
      "a81b80d2010000d4", // mov x8,221; svc 0
      "c00f80d2a80b80d2010000d4", // exit: mov x0,126; mov x8,93; svc 0
      "00000000", // PID
    ].join(""),
    pidOffset: 76,
  },
}

export interface Started {
  readonly file: string
  readonly args: readonly string[]
}

/**
 * The command that runs the program and tells it when we die. Undefined when that is impossible, or when the program
 * cannot be executed and somebody should hear why. `path` lists where programs are.
 */
export function endingWithUs(
  program: string,
  args: readonly string[],
  path: string,
): Started | undefined {
  const found = find(program, path)
  if (found === undefined) return undefined
  shim ??= makeShim(process.arch, process.pid)
  return shim === "" ? undefined : { file: shim, args: [found, program, ...args] }
}

/** Path of the program above. Empty when there is none. */
let shim: string | undefined

function makeShim(arch: string, pid: number): string {
  const program = shimProgram(arch, pid)
  if (program === undefined) return ""
  try {
    const file = `/proc/self/fd/${memoryFile(program)}`
    const { status } = spawnSync(file, ["/", "/"], { stdio: "ignore" })
    return status === CANNOT_EXECUTE ? file : "" // the expected status: a directory is no program
  } catch {
    return ""
  }
}

const CANNOT_EXECUTE = 126

const BASE = 0x400000
const HEADERS_SIZE = 64 + 56

/** An ELF file: elf(5). */
export function shimProgram(arch: string, pid: number): Uint8Array | undefined {
  const machine = MACHINES[arch]
  if (machine === undefined) return undefined
  const code = Buffer.from(machine.code, "hex")
  code.writeInt32LE(pid, machine.pidOffset)
  const size = HEADERS_SIZE + code.length
  const file = Buffer.alloc(size)
  file.write("\x7fELF\x02\x01\x01", "latin1") // 64 bits, little-endian, version 1
  file.writeUInt16LE(2, 16) // e_type: ET_EXEC
  file.writeUInt16LE(machine.elfMachine, 18)
  file.writeUInt32LE(1, 20) // e_version
  file.writeBigUInt64LE(BigInt(BASE + HEADERS_SIZE), 24) // e_entry
  file.writeBigUInt64LE(64n, 32) // e_phoff
  file.writeUInt16LE(64, 52) // e_ehsize
  file.writeUInt16LE(56, 54) // e_phentsize
  file.writeUInt16LE(1, 56) // e_phnum
  file.writeUInt32LE(1, 64) // p_type: PT_LOAD
  file.writeUInt32LE(5, 68) // p_flags: read, execute
  file.writeBigUInt64LE(BigInt(BASE), 80) // p_vaddr
  file.writeBigUInt64LE(BigInt(BASE), 88) // p_paddr
  file.writeBigUInt64LE(BigInt(size), 96) // p_filesz
  file.writeBigUInt64LE(BigInt(size), 104) // p_memsz
  file.writeBigUInt64LE(0x1000n, 112) // p_align
  code.copy(file, HEADERS_SIZE)
  return file
}

const MFD_CLOEXEC = 1
const MFD_EXEC = 0x10 // from Linux 6.3 on, which may require it

/** It stays open, because the file has no other name. */
function memoryFile(content: Uint8Array): number {
  const { memfdCreate = 0 } = MACHINES[process.arch] ?? {}
  for (const flags of [MFD_CLOEXEC | MFD_EXEC, MFD_CLOEXEC]) {
    const fd = libc.syscall(memfdCreate, pathAddress("litefs-exec"), flags, 0, 0, 0)
    if (fd < 0) continue
    writeSync(fd, content)
    return fd
  }
  throw new Error("no file in memory can be made")
}

/** The path of a program that this machine can execute. */
function find(program: string, path: string): string | undefined {
  const places = program.includes("/")
    ? [program]
    : path.split(":").map((directory) => join(directory === "" ? "." : directory, program))
  const found = places.find(isExecutable)
  return found !== undefined && canRun(found) ? found : undefined
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/** An ELF file of this machine, or a script for one. */
function canRun(path: string, isInterpreter = false): boolean {
  const head = headOf(path)
  if (head.subarray(0, 4).equals(Buffer.from("\x7fELF", "latin1"))) {
    return head.length >= 20 && head.readUInt16LE(18) === MACHINES[process.arch]?.elfMachine
  }
  const interpreter = /^#![ \t]*(?<path>[^\s\0]+)/.exec(head.toString("latin1"))?.groups?.path
  if (interpreter === undefined || isInterpreter || !isExecutable(interpreter)) return false
  return canRun(interpreter, true)
}

function headOf(path: string): Buffer {
  try {
    const fd = openSync(path, "r")
    const head = Buffer.alloc(256)
    try {
      return head.subarray(0, readSync(fd, head, 0, head.length, 0))
    } finally {
      closeSync(fd)
    }
  } catch {
    return Buffer.alloc(0) // a program may be executable but not readable
  }
}
