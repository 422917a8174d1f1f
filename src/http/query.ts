import { LitefsError } from "../lib/errors.ts"
import { validateDatabaseName } from "../wire/database-name.ts"

/** The database that a request names: `?name=DB`. */
export function databaseNameOf(url: URL): string {
  const name = url.searchParams.get("name")
  if (!name) throw new LitefsError("usage", "name required")
  validateDatabaseName(name)
  return name
}
