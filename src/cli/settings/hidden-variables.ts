/**
 * Variables for the programs that we start, which our own runtime and dynamic linker must not see.
 *
 * The loader of a static file (`src/loader`) replaces the first letter of every variable whose name starts with `BUN_`
 * or `LD_` by a `%`. Here they get their names back, before anybody looks. The runtime has read its own environment by
 * then, and does not see later changes in `process.env`.
 */
const HIDDEN_NAMES: Readonly<Record<string, string>> = { "%UN_": "BUN_", "%D_": "LD_" }

/** Gives the variables of `env` their names back, in place. */
export function restoreHiddenVariables(env: NodeJS.ProcessEnv): void {
  for (const name of Object.keys(env)) {
    for (const [hidden, shown] of Object.entries(HIDDEN_NAMES)) {
      if (!name.startsWith(hidden)) continue
      env[shown + name.slice(hidden.length)] = env[name]
      delete env[name]
    }
  }
}
