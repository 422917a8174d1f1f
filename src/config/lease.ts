/**
 * The role of a node, from `lease`.
 *
 * With the original's static lease all nodes have the same `hostname` and `advertise-url`, those of the primary, and
 * differ in `candidate`. Here a replica gets only the URL: the primary tells its name itself. With a lease in Consul all
 * of it is as in the original.
 */
import { parseDuration } from "../lib/duration.ts"
import type { Setting, YamlDocument } from "./yaml-document.ts"

export function leaseSettings(
  document: YamlDocument,
  values: ReadonlyMap<string, unknown>,
): Map<string, Setting> {
  const type = values.get("lease.type")
  if (type === undefined) {
    throw document.problem(
      "lease.type",
      "is missing, it should be static or consul, or give --primary, --primary-url or --lease",
    )
  }
  if (type !== "static" && type !== "consul") {
    throw document.problem("lease.type", `is "${type}", it should be static or consul`)
  }
  const settings = new Map<string, Setting>()
  const take = (key: string, flag: string) => {
    const value = values.get(key)
    if (value === undefined) return
    const text = Array.isArray(value) ? value.join(",") : String(value)
    settings.set(flag, { text, spelling: document.spelling(key) })
  }
  take("lease.databases", "databases")
  if (type === "consul") {
    const spelling = document.spelling("lease.consul.url")
    settings.set("lease", { text: consulStore(document, values), spelling })
    take("lease.hostname", "hostname")
    take("lease.advertise-url", "advertise-url")
    if (values.get("lease.candidate") === false) return settings
    settings.set("candidate", { text: "true", spelling: document.spelling("lease.candidate") })
    take("lease.promote", "promote")
    return settings
  }
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

/**
 * What `--lease` would be. The password of the URL is the token, and its path comes before the key: then sessions belong
 * to a node of Consul's catalogue named after it, as in the original.
 */
function consulStore(document: YamlDocument, values: ReadonlyMap<string, unknown>): string {
  const text = values.get("lease.consul.url")
  const key = values.get("lease.consul.key")
  if (text === undefined) {
    throw document.problem("lease.consul.url", "is missing, it should be like http://consul:8500")
  }
  if (key === undefined) {
    throw document.problem("lease.consul.key", "is missing, it should be like litefs/primary")
  }
  const isUrl = /^https?:\/\//i.test(String(text)) && URL.canParse(String(text))
  if (!isUrl) {
    throw document.problem(
      "lease.consul.url",
      "is no URL that starts with http:// or https://, it should be like http://consul:8500",
    )
  }
  const { protocol, hostname, port, password, pathname } = new URL(String(text))
  if (pathname.includes("@")) {
    const problem = 'has an "@" in its path, it should be percent-encoded in a password, as "/" is'
    throw document.problem("lease.consul.url", problem)
  }
  const isSecure = protocol === "https:"
  const host = `${hostname}:${port === "" ? (isSecure ? 443 : 80) : port}`
  const trimmed = (path: string) => path.replace(/^\/+|\/+$/g, "")
  const prefix = trimmed(pathname)
  const path = [prefix, trimmed(String(key))].filter((part) => part !== "").join("/")
  const query = new URLSearchParams(prefix === "" ? {} : { node: `${prefix}/litefs` })
  for (const name of ["ttl", "lock-delay"]) {
    const duration = values.get(`lease.consul.${name}`)
    // As in the original, zero stands for the default.
    if (typeof duration === "string" && parseDuration(duration) > 0) query.set(name, duration)
  }
  const token = password === "" ? "" : `:${password}@`
  const settings = query.size === 0 ? "" : `?${query}`
  return `consul${isSecure ? "+https" : ""}://${token}${host}/${path}${settings}`
}
