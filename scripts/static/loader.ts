/**
 * The loader of static files, `src/loader`, with libstdc++ in it, and musl's libc. It takes half a minute to make, and is
 * kept outside of the repository until its sources change.
 */
import { copyFileSync, globSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Architecture } from "./architecture.ts"
import { cachedDirectory, sumOf } from "./cache.ts"
import { run } from "./command.ts"
import { buildCxxRuntime, cCompiler, LIBRARY, muslLibc, needCompiler } from "./cxx-runtime.ts"

export interface Loader {
  /** An ELF file that is executable and a library, with a payload that has to be filled in. */
  readonly path: string
  readonly libcPath: string
  /** Names and versions of Debian's packages that are in it. */
  readonly packages: readonly { readonly name: string; readonly version: string }[]
  /** With headers and musl, to compile against. */
  readonly directory: string
}

/** What the runtime takes from libstdc++, and what a program needs that throws; the rest is dropped. */
const EXPORTS = `{
  global:
    _ZNKSt8__detail20_Prime_rehash_policy*; _ZNSt18condition_variable*; _ZNSt6chrono3_V212steady_clock3nowEv;
    _ZNSt8__detail15_List_node_base*; _ZSt11_Hash_bytesPKvmm; _ZSt11__once_call; _ZSt15__once_callable;
    _ZSt13set_terminatePFvvE; _ZSt15get_new_handlerv; _ZSt9terminatev; _ZSt21__glibcxx_assert_failPKciS0_S0_;
    _ZSt18_Rb_tree_*; _ZSt28_Rb_tree_*; _ZSt29_Rb_tree_*; _ZSt*__throw_*;
    _ZTI*; _ZTVN10__cxxabiv1*; _ZNKSt*4whatEv; _ZNSt*D?Ev; _ZNSt13runtime_errorC?EPKc; _Znw*; _Zna*; _Zdl*; _Zda*;
    __cxa_*; __dynamic_cast; __once_proxy; __gxx_personality_v0; _Unwind_*;
  local: *;
};
`

/** No libc, no relocations: what the compiler must not make of the loader. */
const LOADER_FLAGS = [
  "-std=c11",
  "-O2",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-ffreestanding",
  "-fPIC",
  "-fvisibility=hidden",
  "-fno-stack-protector",
  "-fno-tree-loop-distribute-patterns", // no calls of memset
  "-fno-asynchronous-unwind-tables",
]

const CXX_SOURCES = [
  "scripts/static/architecture.ts",
  "scripts/static/cxx-runtime.ts",
  "scripts/static/debian.ts",
]
const SOURCES = [...globSync("src/loader/*").sort(), "scripts/static/loader.ts"]

/** Made now or earlier. */
export async function loaderFor(architecture: Architecture): Promise<Loader> {
  const cxxSum = sumOf(CXX_SOURCES, architecture.name)
  const cxx = await cachedDirectory(`libstdcxx-${architecture.name}`, cxxSum, async (into) => {
    console.error(`making libstdc++ for musl and ${architecture.name}, once`)
    const packages = await buildCxxRuntime(architecture, into)
    const versions = packages.map(({ name, version }) => ({ name, version }))
    writeFileSync(join(into, "packages.json"), JSON.stringify(versions))
    for (const left of ["gcc", "objects", "packages", "unwinder"]) {
      rmSync(join(into, left), { recursive: true })
    }
  })
  const sum = sumOf(SOURCES, cxxSum)
  const linked = await cachedDirectory(`loader-${architecture.name}`, sum, async (into) => {
    await needCompiler(architecture)
    await link(architecture, cxx, into)
  })
  return {
    path: join(linked, "loader"),
    libcPath: join(linked, "libc.so"),
    packages: JSON.parse(readFileSync(join(cxx, "packages.json"), "utf8")),
    directory: cxx,
  }
}

async function link(architecture: Architecture, cxx: string, directory: string): Promise<void> {
  const compiler = cCompiler(architecture)
  const object = join(directory, "loader.o")
  await run([...compiler, ...LOADER_FLAGS, "-c", "src/loader/loader.c", "-o", object])
  const wanted = await undefinedSymbols(architecture, ["-u", object])
  if (wanted.length > 0) {
    throw new Error(`Cannot link the loader: it calls ${wanted.join(", ")}, it must call nothing`)
  }

  const exports = join(directory, "exports")
  const loader = join(directory, "loader")
  const libc = join(directory, "libc.so")
  writeFileSync(exports, EXPORTS)
  copyFileSync(muslLibc(architecture, cxx), libc)
  await run([
    ...compiler,
    "-shared",
    "-nostdlib",
    "-s",
    "-Wl,-e,_start",
    "-Wl,-soname,libstdc++.so.6",
    `-Wl,--version-script=${exports}`,
    "-Wl,--gc-sections",
    "-Wl,--build-id=none",
    "-Wl,--hash-style=gnu",
    "-Wl,-z,relro,-z,now,-z,noexecstack",
    "-Wl,--unresolved-symbols=ignore-all", // libc is there when it is needed; checked below
    "-o",
    loader,
    object,
    "-Wl,--whole-archive",
    join(cxx, LIBRARY),
    "-Wl,--no-whole-archive",
    (await run([...compiler, "-print-libgcc-file-name"])).trim(),
  ])
  const found = await symbols(architecture, ["-D", "--defined-only", libc])
  const needed = await undefinedSymbols(architecture, ["-D", loader])
  const missing = needed.filter((name) => !found.includes(name))
  if (missing.length > 0) {
    throw new Error(`Cannot link the loader: musl does not have ${missing.join(", ")}`)
  }
}

async function undefinedSymbols(architecture: Architecture, args: readonly string[]) {
  return symbols(architecture, [...args, "--undefined-only"])
}

/** As nm prints them: an address where there is one, a letter, the name. */
async function symbols({ triplet }: Architecture, args: readonly string[]): Promise<string[]> {
  const lines = (await run([`${triplet}-nm`, ...args])).trim().split("\n")
  return lines.map((line) => line.trim().split(/\s+/).at(-1) ?? "").filter((name) => name !== "")
}
