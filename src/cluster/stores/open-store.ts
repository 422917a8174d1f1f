import type { Clock } from "../../lib/clock.ts"
import type { StoreOptions } from "../../litefs-options.ts"
import type { TlsMaterial } from "../node-request.ts"
import { ConsulStore } from "./consul-store.ts"
import { EtcdStore } from "./etcd-store.ts"
import type { LeaseStore } from "./lease-store.ts"
import { StoreCalls } from "./store-calls.ts"

const CALL_MS_MIN = 500

/** Touches nothing yet. `tls` is read for every connection. */
export function openStore(options: StoreOptions, clock: Clock, tls: () => TlsMaterial): LeaseStore {
  const { origins, ttlMs } = options
  // Two hosts that do not answer must leave time for a third, before the lease runs out.
  const limitMs = Math.max(CALL_MS_MIN, ttlMs / 6)
  const calls = new StoreCalls({ origins, limitMs, clock, tls })
  return options.kind === "etcd"
    ? new EtcdStore({ ...options, calls })
    : new ConsulStore({ ...options, calls, clock })
}
