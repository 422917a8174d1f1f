/**
 * libstdc++ for musl, as far as the runtime needs it: made from the sources of Debian's GCC, with the configuration that
 * GCC has for systems without glibc ("generic"), against musl's headers. No object that was compiled for glibc is in it.
 *
 * What GCC's own configure would find out about musl, and is different from Debian's glibc, is in `NOT_IN_MUSL`.
 * The unwinder comes from libgcc, the demangler from libiberty.
 */
import { copyFileSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import type { Architecture } from "./architecture.ts"
import { run, runAll, runShell } from "./command.ts"
import {
  type DebianPackage,
  fetchDebianPackages,
  needProgram,
  unpackDebianPackage,
} from "./debian.ts"

export const GCC_VERSION = 12

/** Where things are, below the directory that `buildCxxRuntime` has filled. */
const MUSL = "musl"
const OVERRIDES = "include"
export const LIBRARY = "libstdcxx.a"

const SOURCES = {
  libsupcxx: ["*"],
  cxx98: ["allocator-inst", "ios_failure", "list", "misc-inst", "stdexcept", "tree"],
  cxx11: [
    "chrono",
    "condition_variable",
    "cow-stdexcept",
    "cow-string-inst",
    "cxx11-ios_failure",
    "cxx11-stdexcept",
    "debug",
    "functexcept",
    "functional",
    "future",
    "hashtable_c++0x",
    "mutex",
    "regex",
    "shared_ptr",
    "snprintf_lite",
    "sso_string",
    "string-inst",
    "system_error",
    "thread",
  ],
  unwinder: ["unwind-c", "unwind-dw2", "unwind-dw2-fde-dip"],
} as const

/** Parts of GCC that are unpacked: a few of its hundred megabytes. */
const PARTS = [
  "libstdc++-v3/libsupc++",
  "libstdc++-v3/src",
  "libstdc++-v3/config",
  "libiberty/cp-dem*",
  "libgcc",
  "include",
]

const NOT_IN_MUSL = `
#undef _GLIBCXX_HAVE_ARC4RANDOM
#undef _GLIBCXX_HAVE_EXECINFO_H
#undef _GLIBCXX_HAVE_SYS_SDT_H
#undef _GLIBCXX_HAVE___CXA_THREAD_ATEXIT_IMPL
#undef _GLIBCXX_USE_PTHREAD_COND_CLOCKWAIT
#undef _GLIBCXX_USE_PTHREAD_MUTEX_CLOCKLOCK
#undef _GLIBCXX_USE_PTHREAD_RWLOCK_CLOCKLOCK
#undef _GLIBCXX_SYMVER
#undef _GLIBCXX_SYMVER_GNU
#define _GLIBCXX_SYMVER 0
`

/** Headers that GCC's own build makes for the unwinder. */
const UNWINDER_HEADERS = {
  "tconfig.h": '#include "ansidecl.h"\n#define USED_FOR_TARGET 1\n',
  "tsystem.h": `#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#define gcc_assert(EXPR) ((void)(!(EXPR) ? abort(), 0 : 0))
#define gcc_unreachable() abort()
`,
  "coretypes.h": "",
  // Where the registers of arm64, and its vector registers, are among those of DWARF.
  "tm.h": `#define DWARF_REG_TO_UNWIND_COLUMN(REGNO) (REGNO)
#define AARCH64_DWARF_R0 0
#define AARCH64_DWARF_NUMBER_R 31
#define AARCH64_DWARF_V0 64
#define AARCH64_DWARF_NUMBER_V 32
`,
  "libgcc_tm.h": "",
  "auto-target.h": "#define HAVE_GETIPINFO 1\n",
}

const FLAGS = ["-O2", "-fPIC", "-ffunction-sections", "-fdata-sections", "-w", "-D_GNU_SOURCE"]

/** Fills a directory with the library, the headers it was made with, and musl. Returns the packages it is made of. */
export async function buildCxxRuntime(
  architecture: Architecture,
  directory: string,
): Promise<DebianPackage[]> {
  await needCompiler(architecture)
  const names = [`gcc-${GCC_VERSION}-source`, "musl", "musl-dev"]
  const packages = await fetchDebianPackages(names, architecture, join(directory, "packages"))
  const [gcc, musl, muslDev] = packages as [DebianPackage, DebianPackage, DebianPackage]
  for (const each of [musl, muslDev]) await unpackDebianPackage(each, join(directory, MUSL))
  const source = join(directory, "gcc")
  await unpackGcc(gcc, source)

  const objects = join(directory, "objects")
  mkdirSync(objects)
  writeOverrides(source, join(directory, OVERRIDES), await cxxHeaders(architecture))
  const commands = [
    ...(await cxxCommands(architecture, directory, source, objects)),
    ...(await unwinderCommands(architecture, directory, source, objects)),
    demanglerCommand(architecture, await cHeaders(architecture, directory), source, objects),
  ]
  await runAll(commands)
  const files = globSync(join(objects, "*.o")).sort()
  await run([`${architecture.triplet}-ar`, "rcD", join(directory, LIBRARY), ...files])
  return packages
}

/** The compiler for C++ comes with that for C. */
export async function needCompiler({ name, triplet }: Architecture): Promise<void> {
  const isNative = name === process.arch
  const cross = `g++-${GCC_VERSION}-${triplet.replaceAll("_", "-")}`
  await needProgram(`${triplet}-g++-${GCC_VERSION}`, isNative ? `g++-${GCC_VERSION}` : cross)
}

/** The command that compiles C++ for musl, as far as its headers go. */
export async function cxxCompiler(
  architecture: Architecture,
  directory: string,
): Promise<[string, ...string[]]> {
  const include = [
    join(directory, OVERRIDES),
    ...(await cxxHeaders(architecture)),
    ...(await cHeaders(architecture, directory)),
  ]
  return [
    `${architecture.triplet}-g++-${GCC_VERSION}`,
    ...architecture.compilerFlags,
    "-nostdinc",
    ...include.flatMap((path) => ["-isystem", path]),
    ...FLAGS,
  ]
}

export function cCompiler({ triplet, compilerFlags }: Architecture): [string, ...string[]] {
  return [`${triplet}-gcc-${GCC_VERSION}`, ...compilerFlags]
}

/** musl's libc.so, which is its dynamic linker as well. */
export function muslLibc({ muslTriplet }: Architecture, directory: string): string {
  return join(directory, MUSL, "lib", muslTriplet, "libc.so")
}

/** Where musl's `crt1.o`, `libc.a` and so on are. */
export function muslLibrary({ muslTriplet }: Architecture, directory: string): string {
  return join(directory, MUSL, "usr/lib", muslTriplet)
}

/** musl's headers, and those of the compiler itself. */
export async function cHeaders(architecture: Architecture, directory: string): Promise<string[]> {
  const compiler = `${architecture.triplet}-gcc-${GCC_VERSION}`
  const own = (await run([compiler, "-print-file-name=include"])).trim()
  return [join(directory, MUSL, "usr/include", architecture.muslTriplet), own]
}

/** Where the compiler finds the headers of libstdc++. */
async function cxxHeaders({ triplet }: Architecture): Promise<string[]> {
  const compiler = `${triplet}-g++-${GCC_VERSION}`
  const said = await runShell('"$1" -E -x c++ -v /dev/null 2>&1 >/dev/null', [compiler])
  const [, list = ""] = said.split("#include <...> search starts here:\n")
  const paths = list.split("\n").map((line) => line.trim())
  return paths.filter((path) => path.includes(`/c++/${GCC_VERSION}`))
}

async function unpackGcc({ path }: DebianPackage, into: string): Promise<void> {
  mkdirSync(into)
  const archive = `./usr/src/gcc-${GCC_VERSION}/gcc-*.tar.xz`
  await runShell(
    `dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards '${archive}' |
     tar -xJ -C "$2" --wildcards --strip-components=1 --exclude='*/testsuite' "\${@:3}"`,
    [path, into, ...PARTS.map((part) => `*/${part}`)],
  )
}

function writeOverrides(source: string, into: string, cxx: readonly string[]): void {
  const bits = join(into, "bits")
  mkdirSync(bits, { recursive: true })
  const config = join(source, "libstdc++-v3/config")
  for (const path of globSync(`${config}/os/generic/*.h`)) {
    copyFileSync(path, join(bits, basename(path)))
  }
  for (const name of ["messages_members.h", "time_members.h"]) {
    copyFileSync(`${config}/locale/generic/${name}`, join(bits, name))
  }
  copyFileSync(`${config}/locale/generic/c_locale.h`, join(bits, "c++locale.h"))
  const [debians] = cxx.flatMap((path) => globSync(`${path}/bits/c++config.h`))
  if (debians === undefined) throw new Error(`Cannot find bits/c++config.h in ${cxx.join(" ")}`)
  writeFileSync(join(bits, "c++config.h"), readFileSync(debians, "utf8") + NOT_IN_MUSL)
}

async function cxxCommands(
  architecture: Architecture,
  directory: string,
  source: string,
  objects: string,
): Promise<[string, ...string[]][]> {
  const compiler = await cxxCompiler(architecture, directory)
  const library = join(source, "libstdc++-v3")
  const files = [
    ...filesOf(join(library, "libsupc++"), SOURCES.libsupcxx),
    ...filesOf(join(library, "src/c++98"), SOURCES.cxx98),
    ...filesOf(join(library, "src/c++11"), SOURCES.cxx11),
  ]
  const include = [join(library, "libsupc++"), join(source, "libgcc"), join(source, "include")]
  return files.map((file) => [
    ...compiler,
    `-std=${standardOf(file)}`,
    ...include.map((path) => `-I${path}`),
    "-D_GLIBCXX_SHARED",
    "-fno-implicit-templates",
    "-c",
    file,
    "-o",
    objectOf(file, objects),
  ])
}

/** As in the makefiles of libstdc++. */
function standardOf(file: string): string {
  if (file.includes("/c++98/")) return "gnu++98"
  return file.includes("/c++11/") ? "gnu++11" : "gnu++17"
}

async function unwinderCommands(
  architecture: Architecture,
  directory: string,
  source: string,
  objects: string,
): Promise<[string, ...string[]][]> {
  const headers = join(directory, "unwinder")
  mkdirSync(headers)
  const libgcc = join(source, "libgcc")
  for (const [name, text] of Object.entries(UNWINDER_HEADERS)) {
    writeFileSync(join(headers, name), text)
  }
  copyFileSync(join(libgcc, "unwind-generic.h"), join(headers, "unwind.h"))
  copyFileSync(join(libgcc, "gthr-posix.h"), join(headers, "gthr-default.h"))
  const signals = `#include "config/${architecture.libgccConfig}/linux-unwind.h"\n`
  writeFileSync(join(headers, "md-unwind-support.h"), signals)

  const system = await cHeaders(architecture, directory)
  return filesOf(libgcc, SOURCES.unwinder, ".c").map((file) => [
    ...cCompiler(architecture),
    ...FLAGS,
    "-nostdinc",
    ...[headers, libgcc, join(source, "include")].map((path) => `-I${path}`),
    ...system.flatMap((path) => ["-isystem", path]),
    "-fexceptions",
    "-fbuilding-libgcc",
    "-fno-stack-protector",
    "-DIN_GCC",
    "-DIN_LIBGCC2",
    "-DHAVE_LD_EH_FRAME_HDR",
    "-DUSE_PT_GNU_EH_FRAME",
    "-DGTHREAD_USE_WEAK=0",
    "-c",
    file,
    "-o",
    objectOf(file, objects),
  ])
}

function demanglerCommand(
  architecture: Architecture,
  system: readonly string[],
  source: string,
  objects: string,
): [string, ...string[]] {
  const file = join(source, "libiberty/cp-demangle.c")
  return [
    ...cCompiler(architecture),
    ...FLAGS,
    "-nostdinc",
    `-I${join(source, "include")}`,
    ...system.flatMap((path) => ["-isystem", path]),
    "-DIN_GLIBCPP_V3",
    "-DHAVE_LIMITS_H",
    "-DHAVE_STDLIB_H",
    "-DHAVE_STRING_H",
    "-c",
    file,
    "-o",
    objectOf(file, objects),
  ]
}

function filesOf(directory: string, names: readonly string[], ending = ".cc"): string[] {
  return names.flatMap((name) => globSync(join(directory, `${name}${ending}`)).sort())
}

/** Files of the same name are in several directories. */
function objectOf(file: string, objects: string): string {
  return join(objects, `${basename(dirname(file))}-${basename(file)}.o`)
}
