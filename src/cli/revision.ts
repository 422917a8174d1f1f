/** The version of this LiteFS. The build defines the two names; they are undefined in the sources. */
import packageJson from "../../package.json" with { type: "json" }

declare const LITEFS_COMMIT: string
declare const LITEFS_COMMIT_DATE: string

export const REVISION = {
  version: packageJson.version,
  /** The git commit, with `-dirty` when the sources differed from it; null when it is unknown. */
  commit: typeof LITEFS_COMMIT === "undefined" || LITEFS_COMMIT === "" ? null : LITEFS_COMMIT,
  /** Date of the commit, so that the same sources make the same executable: `2026-11-29T20:00:00Z`. */
  date:
    typeof LITEFS_COMMIT_DATE === "undefined" || LITEFS_COMMIT_DATE === ""
      ? null
      : LITEFS_COMMIT_DATE,
}
