/** Which version of LiteFS this is. The build defines the two names; in the sources they are not there. */
import packageJson from "../../package.json" with { type: "json" }

declare const LITEFS_COMMIT: string
declare const LITEFS_COMMIT_DATE: string

export const REVISION = {
  version: packageJson.version,
  /** Of git, with `-dirty` behind it when the sources differed from it; null where that is not known. */
  commit: typeof LITEFS_COMMIT === "undefined" || LITEFS_COMMIT === "" ? null : LITEFS_COMMIT,
  /** Of the commit, so that the same sources make the same executable: `2026-11-29T20:00:00Z`. */
  date:
    typeof LITEFS_COMMIT_DATE === "undefined" || LITEFS_COMMIT_DATE === ""
      ? null
      : LITEFS_COMMIT_DATE,
}
