/** A configuration file in the place of flags. */
import type { FlagTable } from "./argv.ts"

export const CONFIG_FLAGS = {
  config: {
    kind: "text",
    placeholder: "FILE",
    help: "read the original's litefs.yml; flags and variables win over it",
  },
  "no-expand-env": {
    kind: "boolean",
    help: "do not replace $NAME in that file by variables",
  },
} as const satisfies FlagTable
