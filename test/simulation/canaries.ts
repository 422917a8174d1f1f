/** Mistakes that the simulation has to find, or it proves nothing. Each one is in what a node of the simulation does. */
export const CANARIES = {
  /** A primary commits without a look at its lease. */
  "no-fencing": "the fs thread commits whatever the lease says",
  /** A replica acknowledges what a power cut may take away. */
  "early-acknowledgement": "a replica says that it has a transaction before that is durable",
} as const

export type Canary = keyof typeof CANARIES

export function isCanary(name: string): name is Canary {
  return name in CANARIES
}
