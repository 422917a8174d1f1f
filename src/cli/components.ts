/** The parts of a LiteFS executable, with authors and terms: `litefs version --licenses`, and the SBOM. */

import packageJson from "../../package.json" with { type: "json" }
import apache from "./licenses/Apache-2.0.txt" with { type: "text" }
import bsd2 from "./licenses/BSD-2-Clause.txt" with { type: "text" }
import isc from "./licenses/ISC.txt" with { type: "text" }
import lgpl from "./licenses/LGPL-2.1.txt" with { type: "text" }
import mit from "./licenses/MIT.txt" with { type: "text" }

export interface Component {
  readonly name: string
  /** Its own version, if it has one; a part of the runtime has none. */
  readonly version?: string
  /** As SPDX writes it. */
  readonly license: string
  readonly copyright: string
  readonly home: string
  readonly about: string
}

const RUNTIME_VERSION = packageJson.devDependencies.bun

export const COMPONENTS: readonly Component[] = [
  {
    name: packageJson.name,
    version: packageJson.version,
    license: "Apache-2.0",
    copyright: "the authors of LiteFS",
    home: "https://github.com/superfly/litefs",
    about: "this program; the original, whose formats and protocol it speaks, has its home there",
  },
  {
    name: "citty",
    version: packageJson.dependencies.citty,
    license: "MIT",
    copyright: "Copyright (c) Pooya Parsa",
    home: "https://github.com/unjs/citty",
    about: "the commands of the command line",
  },
  {
    name: "consola",
    version: packageJson.dependencies.consola,
    license: "MIT",
    copyright: "Copyright (c) Pooya Parsa; Copyright (c) Nate Moore",
    home: "https://github.com/unjs/consola",
    about: "the log",
  },
  {
    name: "Bun",
    version: RUNTIME_VERSION,
    license: "MIT",
    copyright: "Copyright (c) Jarred Sumner and contributors",
    home: "https://bun.com/docs/project/license",
    about: "the runtime; that page names all that is linked into it, and how to link it anew",
  },
  {
    name: "JavaScriptCore",
    license: "LGPL-2.1-or-later AND BSD-2-Clause",
    copyright: "Copyright (c) Apple Inc. and the contributors of WebKit",
    home: "https://github.com/oven-sh/WebKit",
    about: "in the runtime",
  },
  {
    name: "SQLite",
    license: "blessing",
    copyright: "none: the public domain",
    home: "https://sqlite.org/copyright.html",
    about: "in the runtime",
  },
  {
    name: "BoringSSL",
    license: "Apache-2.0 AND ISC AND OpenSSL",
    copyright: "Copyright (c) Google Inc. and the OpenSSL project",
    home: "https://boringssl.googlesource.com/boringssl",
    about: "in the runtime",
  },
  {
    name: "musl",
    license: "MIT",
    copyright: "Copyright (c) 2005-2020 Rich Felker, et al.",
    home: "https://musl.libc.org",
    about: "the C library of a static file",
  },
  {
    name: "libstdc++",
    license: "GPL-3.0-or-later WITH GCC-exception-3.1",
    copyright: "Copyright (c) Free Software Foundation, Inc.",
    home: "https://gcc.gnu.org/onlinedocs/libstdc++",
    about: "the C++ library of a static file, with GCC's unwinder and demangler",
  },
]

const TEXTS: Readonly<Record<string, string>> = {
  "Apache License 2.0": apache,
  "MIT License": mit,
  "ISC License": isc,
  "BSD 2-Clause License": bsd2,
  "GNU Lesser General Public License 2.1": lgpl,
}

const GCC_EXCEPTION = `libstdc++ is covered by the GNU General Public License 3 with the GCC Runtime Library
Exception 3.1, which permits to combine it with other programs that a compiler has made
of their sources, under terms of their own: https://www.gnu.org/licenses/gcc-exception-3.1.html`

/** All components, then the texts of their licenses. */
export function licensesText(): string {
  const list = COMPONENTS.map(({ name, version, license, copyright, home, about }) =>
    [
      `${name}${version === undefined ? "" : ` ${version}`}: ${about}`,
      license,
      copyright,
      home,
    ].join("\n    "),
  )
  const texts = Object.entries(TEXTS).map(([name, text]) => `--- ${name} ---\n\n${text.trim()}`)
  return `${[...list, GCC_EXCEPTION, ...texts].join("\n\n")}\n`
}
