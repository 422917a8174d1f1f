/** A path that starts at the root, in quotes as messages have it, or alone. */
const QUOTED = /(["'])\/(?:(?!\1).)*?([^"'/]+)\/?\1/g
const BARE = /(?<=^|[\s(=])\/(?:[^\s"'/]+\/)+([^\s"'/]*)/g

/** The same, with the last name of each path alone: where a machine keeps its files is nobody else's business. */
export function withoutPaths(text: string): string {
  return text.replace(QUOTED, "$1$2$1").replace(BARE, "$1")
}
