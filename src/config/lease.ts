/**
 * The role of a node, from `lease`.
 *
 * With the original's static lease all nodes have the same `hostname` and `advertise-url`, those of the primary, and
 * differ in `candidate`. Here a replica gets only the URL: the primary tells its name itself.
 */
import type { Setting, YamlDocument } from "./yaml-document.ts"

const INSTEAD =
  "give one node type: static and candidate: true, and the others type: static, candidate: false " +
  "and the advertise-url of that one"

export function leaseSettings(
  document: YamlDocument,
  values: ReadonlyMap<string, unknown>,
): Map<string, Setting> {
  const type = values.get("lease.type")
  if (type === undefined) {
    throw document.problem(
      "lease.type",
      "is missing, it should be static, or give --primary or --primary-url",
    )
  }
  if (type === "consul") {
    throw document.problem("lease.type", `is "consul", which LiteFS does without here: ${INSTEAD}`)
  }
  if (type !== "static") throw document.problem("lease.type", `is "${type}", it should be static`)

  const settings = new Map<string, Setting>()
  const take = (key: string, flag: string) => {
    const value = values.get(key)
    if (value === undefined) return
    const text = Array.isArray(value) ? value.join(",") : String(value)
    settings.set(flag, { text, spelling: document.spelling(key) })
  }
  take("lease.databases", "databases")
  if (values.get("lease.candidate") !== false) {
    settings.set("primary", { text: "true", spelling: document.spelling("lease.candidate") })
    take("lease.promote", "promote")
    take("lease.hostname", "hostname")
    take("lease.advertise-url", "advertise-url")
  } else {
    take("lease.advertise-url", "primary-url")
    if (!settings.has("primary-url")) {
      throw document.problem("lease.advertise-url", "is missing, it should be that of the primary")
    }
  }
  return settings
}
