/** What exit codes mean, for docs/reference.md and the man page. */
export const EXIT_CODES: readonly (readonly [code: string, meaning: string])[] = [
  [
    "0",
    "success, or told to stop while there was no command to run, or kept from running by `--if-primary`",
  ],
  ["1", "LiteFS failed; the reason is one line on stderr that starts with `ERROR:`"],
  ["2", "the command line, or the configuration file, is wrong"],
  ["126, 127", "the command cannot be executed, or is not found"],
  ["128+n", "signal n ended the command, or ended LiteFS before the command had started"],
  ["other", "the command's own, or that of an `--exec` that has failed"],
]
