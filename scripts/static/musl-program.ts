/** Small programs in C and C++ for musl, which tests run where there is nothing else. */
import { basename, dirname, join } from "node:path"
import type { Architecture } from "./architecture.ts"
import { run } from "./command.ts"
import { cCompiler, cHeaders, cxxCompiler, muslLibrary, needCompiler } from "./cxx-runtime.ts"
import { loaderFor } from "./loader.ts"

/** How it finds libc: it has it in itself, or the dynamic linker is at that path. */
type Linking = "static" | { readonly interpreter: string }

/** Compiles one C file. */
export async function compileForMusl(
  architecture: Architecture,
  source: string,
  into: string,
  linking: Linking,
): Promise<void> {
  await needCompiler(architecture)
  const { directory, libcPath } = await loaderFor(architecture)
  const compiler = cCompiler(architecture)
  const headers = await cHeaders(architecture, directory)
  const library = muslLibrary(architecture, directory)
  const libgcc = (await run([...compiler, "-print-libgcc-file-name"])).trim()
  const libc = linking === "static" ? [join(library, "libc.a")] : libcByName(libcPath)
  await run([
    ...compiler,
    "-O1",
    "-nostdinc",
    ...headers.flatMap((path) => ["-isystem", path]),
    "-nostdlib",
    ...linkingFlags(linking),
    ...["crt1.o", "crti.o"].map((name) => join(library, name)),
    source,
    ...libc,
    libgcc,
    join(library, "crtn.o"),
    "-o",
    into,
  ])
}

/** Compiles one C++ file, against the libstdc++ that is in the loader: it has to be found as `libstdc++.so.6`. */
export async function compileCxxForMusl(
  architecture: Architecture,
  source: string,
  into: string,
): Promise<void> {
  await needCompiler(architecture)
  const { directory, path: loader, libcPath } = await loaderFor(architecture)
  const compiler = await cxxCompiler(architecture, directory)
  const library = muslLibrary(architecture, directory)
  const [begin = "", end = ""] = await Promise.all(
    ["crtbegin.o", "crtend.o"].map(async (name) =>
      (await run([...cCompiler(architecture), `-print-file-name=${name}`])).trim(),
    ),
  )
  await run([
    ...compiler,
    "-std=gnu++17",
    "-nostdlib",
    ...linkingFlags({ interpreter: libcPath }),
    ...["crt1.o", "crti.o"].map((name) => join(library, name)),
    begin,
    source,
    loader,
    ...libcByName(libcPath),
    end,
    join(library, "crtn.o"),
    "-o",
    into,
  ])
}

/** A path would stay in the program, since musl's has no name of its own. */
function libcByName(libcPath: string): string[] {
  return [`-L${dirname(libcPath)}`, `-l:${basename(libcPath)}`]
}

function linkingFlags(linking: Linking): string[] {
  if (linking === "static") return ["-static", "-no-pie", "-fno-pie"]
  return ["-no-pie", "-fno-pie", `-Wl,-dynamic-linker,${linking.interpreter}`]
}
