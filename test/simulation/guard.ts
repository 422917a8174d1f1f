/** While the simulation runs, nothing looks at a real clock, waits for real time, or takes a number by chance. */
const FORBIDDEN: readonly (readonly [holder: object, name: string])[] = [
  ...["setTimeout", "setInterval", "setImmediate", "fetch"].map(
    (name) => [globalThis, name] as const,
  ),
  [Date, "now"],
  [Math, "random"],
  [performance, "now"],
]

/** Runs the work. Whatever of these is used in it throws there, and here in the end: somebody may have caught it. */
export function withoutTheWorld<T>(work: () => T): T {
  let used: Error | undefined
  const restores = FORBIDDEN.map(([holder, name]) => {
    const values = holder as Record<string, unknown>
    const value = values[name]
    values[name] = () => {
      used ??= new Error(`Cannot simulate: ${name}() was called, which is not the same each time`)
      throw used
    }
    return () => {
      values[name] = value
    }
  })
  try {
    return work()
  } finally {
    for (const restore of restores) restore()
    // biome-ignore lint/correctness/noUnsafeFinally: it says why everything else has gone wrong.
    if (used !== undefined) throw used
  }
}
