/** What a node keeps of the past of its databases, for replicas that are behind: LTX files, and what retention remembers. */
import type { Turns } from "../../lib/turns.ts"
import type { Pos } from "../../ltx/pos.ts"
import { droppedStateIfWhole } from "../../recovery/dropped-database.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { ancestryOf } from "./ancestry.ts"
import { compactedFile, type FollowingFile, followingFile } from "./following-file.ts"

export interface PastTransactions {
  /** Databases of which there is anything. */
  names(): Iterable<string>
  /** After the drop of a database that is gone; undefined when it was not dropped. */
  dropped(database: string): Pos | undefined
  /** As followingFile(). */
  following(database: string, known: Pos, turns: Turns): Promise<FollowingFile | undefined>
  /** As compactedFile(). */
  compacted(
    database: string,
    file: FollowingFile,
    target: Pos,
    turns: Turns,
  ): Promise<FollowingFile | undefined>
  /** As ancestryOf(). */
  ancestry(database: string, known: Pos, pos: Pos): "same" | "other" | undefined
}

/** What is in a data directory. */
export function pastIn(dataDir: DataDir): PastTransactions {
  return {
    names: () => dataDir.databaseNames(),
    dropped: (database) => droppedStateIfWhole(dataDir, database)?.pos,
    following: (database, ...rest) => followingFile(dataDir.ltxDir(database), ...rest),
    compacted: (database, ...rest) => compactedFile(dataDir.ltxDir(database), ...rest),
    ancestry: (...asked) => ancestryOf(dataDir, ...asked),
  }
}
