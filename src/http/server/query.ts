import { LitefsError } from "../../lib/errors.ts"
import { validateDatabaseName } from "../../wire/database-name.ts"

/** The database that a request names: `?name=DB`. */
export function databaseNameOf(url: URL): string {
  const name = url.searchParams.get("name")
  if (!name) throw new LitefsError("usage", "name required")
  validateDatabaseName(name)
  return name
}

/**
 * Throws for a parameter that is not in the list, or that is given twice but may not be: a typo must not mean "no
 * limit".
 */
export function checkQuery(
  { searchParams }: URL,
  once: readonly string[],
  several: readonly string[] = [],
): void {
  const known = [...once, ...several]
  const seen = new Set<string>()
  for (const name of searchParams.keys()) {
    if (!known.includes(name)) {
      const advice = known.length === 0 ? "there is none here" : `there are ${known.join(", ")}`
      throw new LitefsError("usage", `Cannot use parameter "${name}": ${advice}`)
    }
    if (seen.has(name) && !several.includes(name))
      throw new LitefsError("usage", `Cannot use parameter "${name}": given twice`)
    seen.add(name)
  }
}

/** A whole number that is not negative; undefined when the parameter is missing. */
export function numberOf({ searchParams }: URL, name: string): number | undefined {
  const text = searchParams.get(name)
  if (text === null) return undefined
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new LitefsError("usage", `Cannot use ${name}=${text}: a whole number expected`)
}
