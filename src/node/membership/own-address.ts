/** Whether a URL leads to this machine. */
import { lookup } from "node:dns/promises"
import { networkInterfaces } from "node:os"
import { systemClock } from "../../lib/clock.ts"
import { inTime } from "../../lib/until.ts"
import type { ListenAddress } from "../../litefs-options.ts"
import { isLoopback } from "../../sys/net/loopback.ts"

/** A name server that is away must not keep a node from starting. */
const LOOKUP_MS_MAX = 2000

/**
 * `advertised` is the URL at which others should reach the listener. A name with several addresses may lead to other
 * machines, so all of them have to be ours.
 */
export async function leadsTo(
  url: string,
  listener: ListenAddress,
  advertised: string | undefined,
): Promise<boolean> {
  const { origin, hostname, port, protocol } = new URL(url)
  if (origin === advertised) return true
  const defaultPort = protocol === "https:" ? 443 : 80
  if ((port === "" ? defaultPort : Number(port)) !== listener.port) return false
  const isEverywhere = ["", "0.0.0.0", "::"].includes(listener.host)
  const own = new Set(isEverywhere ? ownAddresses() : await addressesOf(listener.host))
  const theirs = await addressesOf(hostname.replace(/^\[|\]$/g, ""))
  return theirs.length > 0 && theirs.every((address) => own.has(address))
}

/** Whether a URL leads to another machine, and not to this one. */
export async function leadsElsewhere(url: string): Promise<boolean> {
  const addresses = await addressesOf(new URL(url).hostname.replace(/^\[|\]$/g, ""))
  const own = new Set(ownAddresses())
  return addresses.length > 0 && !addresses.some((each) => isLoopback(each) || own.has(each))
}

function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((some) => some ?? [])
  return [...all.map(({ address }) => address), "127.0.0.1", "::1"]
}

/** None when the name is unknown, or is not resolved in time. */
async function addressesOf(host: string): Promise<string[]> {
  const limit = { clock: systemClock, limitMs: LOOKUP_MS_MAX }
  try {
    const found = await inTime(lookup(host, { all: true }), limit, () => new Error("late"))
    return found.map(({ address }) => address)
  } catch {
    return []
  }
}
