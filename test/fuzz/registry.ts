/** Everything that parses bytes from outside. A new parser has a target here. */
import { CANARIES } from "./canaries.ts"
import { DATA_TARGETS } from "./data-targets.ts"
import { FUSE_TARGETS } from "./fuse-targets.ts"
import { HTTP_TARGETS } from "./http-targets.ts"
import { LTX_TARGETS } from "./ltx-targets.ts"
import { SQLITE_TARGETS } from "./sqlite-targets.ts"
import { STREAM_TARGETS } from "./stream-targets.ts"
import type { Target } from "./target.ts"
import { TEXT_TARGETS } from "./text-targets.ts"

export const PARSERS: readonly Target[] = [
  ...LTX_TARGETS,
  ...STREAM_TARGETS,
  ...SQLITE_TARGETS,
  ...DATA_TARGETS,
  ...FUSE_TARGETS,
  ...HTTP_TARGETS,
  ...TEXT_TARGETS,
]

export const TARGETS: readonly Target[] = [...PARSERS, ...CANARIES]
