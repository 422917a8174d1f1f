/** What this node is to the fs thread. Changed by messages from the main thread. */
export interface Role {
  isPrimary: boolean
  /** Host name of the primary this node follows; undefined on a primary, or when none is known. */
  primaryName: string | undefined
  /** When `primaryName` was set, milliseconds since 1970. */
  changedMs: number
}
