/**
 * A store that several machines share, as the lease needs it (role/elected-lease.ts). It holds texts, and knows nothing
 * of what is in them.
 *
 *   session     lives until its TTL after it was last renewed; what is bound to it goes with it
 *   holder      the text of the node that has the lease; bound to the session of that node
 *   last        the newest text of any holder; it stays when the holder goes
 *   cluster     the id of the cluster; it stays
 *   candidates  a text of each node that may become the primary, bound to its session
 *
 * Every call rejects when the store cannot be reached, or when nobody knows whether it has done what it should. The
 * next read() then tells.
 */
export interface LeaseStore {
  readonly kind: "etcd" | "consul"
  /** Where it is, for people: without user and password. */
  readonly where: string
  /** Time to live of sessions, milliseconds. */
  readonly ttlMs: number
  read(): Promise<StoreView>
  candidates(): Promise<readonly string[]>
  openSession(): Promise<string>
  /** Returns the session's own time to live, milliseconds; undefined when it is gone. */
  renew(session: string): Promise<number | undefined>
  endSession(session: string): Promise<void>
  /** Returns false when the session is gone. */
  announce(session: string, id: string, text: string): Promise<boolean>
  /** Becomes the holder, if there is none and nothing newer than the view. The node is no candidate any more. */
  take(session: string, taken: Taken, view: StoreView): Promise<boolean>
  /** Whether the session has the lease by this text. Sets `last`, if it is given. */
  confirm(session: string, text: string, last?: string): Promise<boolean>
  /** The lease, held by the session with `text`, gets another text: it may name another node, which takes the session. */
  replace(session: string, text: string, next: string, last: string): Promise<boolean>
  /**
   * Gives the lease up, and ends the session. By another text it has been given away, and the answer was lost: then the
   * session is the new holder's, and stays.
   */
  release(session: string, text: string, last: string): Promise<void>
  /** Resolves when there may be another holder than in the view, or with `all` another candidate. It may be early. */
  watch(view: StoreView, all: boolean, signal: AbortSignal): Promise<void>
  close(): void
}

export interface StoreView {
  readonly cluster: string | undefined
  readonly holder: { readonly text: string; readonly session: string } | undefined
  readonly last: { readonly text: string; readonly version: string } | undefined
  /** Grows with every change; "" when the store does not tell. */
  readonly revision: string
}

export interface Taken {
  readonly id: string
  readonly text: string
  readonly last: string
  /** Set when the store has none. */
  readonly cluster: string
}

/** Texts above this size are never written, and not believed when they are read: bytes. Consul's limit is 512 KiB. */
export const STORE_TEXT_SIZE_MAX = 256 * 1024
