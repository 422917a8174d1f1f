/** What the parts of a static file are called for each architecture. */
export interface Architecture {
  /** As Node says it, and as it is in the names of our files. */
  readonly name: "x64" | "arm64"
  readonly debian: string
  /** The prefix of Debian's compilers. */
  readonly triplet: string
  /** Where Debian's musl keeps its files, below `/usr/lib` and `/usr/include`. */
  readonly muslTriplet: string
  /** The loader's and libgcc's name for it. */
  readonly libgccConfig: string
  readonly compilerFlags: readonly string[]
  readonly bun: { readonly musl: string; readonly glibc: string }
}

export const ARCHITECTURES: Readonly<Record<Architecture["name"], Architecture>> = {
  x64: {
    name: "x64",
    debian: "amd64",
    triplet: "x86_64-linux-gnu",
    muslTriplet: "x86_64-linux-musl",
    libgccConfig: "i386",
    compilerFlags: [],
    bun: { musl: "linux-x64-musl", glibc: "linux-x64" },
  },
  arm64: {
    name: "arm64",
    debian: "arm64",
    triplet: "aarch64-linux-gnu",
    muslTriplet: "aarch64-linux-musl",
    libgccConfig: "aarch64",
    // Otherwise atomic operations are calls into libgcc, which asks glibc what the processor has.
    compilerFlags: ["-mno-outline-atomics"],
    bun: { musl: "linux-aarch64-musl", glibc: "linux-aarch64" },
  },
}

export function hostArchitecture(): Architecture {
  if (process.arch === "x64" || process.arch === "arm64") return ARCHITECTURES[process.arch]
  throw new Error(`Cannot build for ${process.arch}: LiteFS runs on x64 and arm64`)
}
