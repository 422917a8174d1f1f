/**
 * Nothing that can be expected is told with a stack trace. Every output of the program that a test takes is looked at,
 * so that the whole suite holds this.
 */

/** A frame of ours: in the executable, or in the sources; on a line of its own, or within one of the log. */
const FRAME = /(?:^|\\n|\n) {4}at [^\n]*?(?:\$bunfs|\/src\/[\w/-]+\.ts:\d+)[^\n]{0,200}/

/** Throws when there is one. */
export function refuseStackTrace(output: string, who: string): void {
  const frame = FRAME.exec(output)
  if (frame === null) return
  const start = Math.max(0, frame.index - 600)
  const around = output.slice(start, frame.index + frame[0].length)
  throw new Error(`${who} has told something with a stack trace:\n${around}`)
}
