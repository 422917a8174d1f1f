/**
 * Matches paths: literal text, in which `*` stands for any characters, including slashes and none. The whole path has
 * to match, without the query: `/build/*` matches `/build/`, but not `/build`.
 */
export class PathPatterns {
  readonly #patterns: readonly (readonly string[])[]

  constructor(patterns: readonly string[]) {
    this.#patterns = patterns.map((pattern) => pattern.split("*"))
  }

  matches(path: string): boolean {
    return this.#patterns.some((pieces) => matchesPieces(pieces, path))
  }
}

/** The path of a request target as people write it, without its query. */
export function pathOf(target: string): string {
  const end = target.indexOf("?")
  const path = end < 0 ? target : target.slice(0, end)
  if (!path.includes("%")) return path
  try {
    return decodeURIComponent(path)
  } catch {
    return path // it is not UTF-8
  }
}

/** The pieces in this order, the first at the start and the last at the end. Takes time proportional to the path. */
function matchesPieces(pieces: readonly string[], path: string): boolean {
  const [first = ""] = pieces
  if (pieces.length === 1) return path === first
  const last = pieces[pieces.length - 1] as string
  if (!path.startsWith(first) || !path.endsWith(last)) return false
  let at = first.length
  const end = path.length - last.length
  for (const piece of pieces.slice(1, -1)) {
    const found = path.indexOf(piece, at)
    if (found < 0) return false
    at = found + piece.length
  }
  return at <= end
}
