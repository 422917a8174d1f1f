/** Everything that a node starts with: the command line makes it, and tests make it by hand. */
import type { LogOptions } from "./lib/log.ts"

export interface LiteFSOptions {
  /** The directory to mount, absolute. It exists and is empty. */
  readonly fuseDir: string
  /** Where databases and their LTX files are kept, absolute. Created when it is missing. */
  readonly dataDir: string
  readonly role: RoleOptions
  /** This node's name among the others: what replicas find in `.primary`. */
  readonly hostname: string
  /** The URL at which other nodes reach this node's API, without a path. */
  readonly advertiseUrl?: string
  /** Nodes to ask who the primary is, before this node believes its own record. URLs without a path. */
  readonly peers?: readonly string[]
  /** The primary may hand its role to this node. */
  readonly isCandidate?: boolean
  /** This node asks for the role of primary when it is in sync for the first time. */
  readonly promote?: boolean
  /** A primary that stops hands its role to a candidate first. */
  readonly handoffOnExit?: boolean
  readonly httpAddr: ListenAddress
  /** What requests to the API have to show, and what this node shows other nodes. Never log it. */
  readonly authToken?: string
  /** With a certificate the API is served with TLS; with a CA other nodes have to show theirs. */
  readonly tls?: TlsOptions
  readonly proxy?: ProxyOptions
  readonly retention: RetentionOptions
  /** Bytes per second for all sent snapshots together; undefined: no limit. */
  readonly snapshotRate?: number
  /** Programs on a replica may write: the fs thread sees their locks, which costs every read two requests. */
  readonly forwardWrites?: boolean
  /**
   * Whether clients can only read the files that they open while this node is a replica, until they open them anew;
   * undefined: when this node is no candidate and forwards no writes.
   */
  readonly readOnlyOpens?: boolean
  readonly capture: CaptureOptions
  /** Commits of a primary wait for replicas; undefined: they do not. */
  readonly sync?: SyncOptions
  /** Whether other users may use the mount, as owners and modes allow; undefined: when this user is root. */
  readonly allowOther?: boolean
  /** Owner of databases that no client of this mount has made; undefined: the owner of the directory. */
  readonly fuseOwner?: { readonly uid: number; readonly gid: number }
  /** Their permissions, nine bits; undefined: those that the directory suggests. */
  readonly fuseMode?: number
  /** Print every FUSE request and its reply. */
  readonly fuseDebug: boolean
  readonly log: LogOptions
}

export type RoleOptions =
  /** Unless a newer lease record names another (cluster/role/lease.ts). */
  | { readonly kind: "primary" }
  /** Unless a lease record names this node. `primaryUrl` is without a path: `http://10.0.0.1:20202`. */
  | {
      readonly kind: "replica"
      readonly primaryUrl: string
      /** How its user wrote it, for messages: `--primary-url`. */
      readonly urlSpelling?: string
      /** Its only databases: names, or patterns with stars. All when it is undefined. */
      readonly databases?: readonly string[]
    }
  /** A store says which node is the primary; no flag of a node does. */
  | {
      readonly kind: "elected"
      readonly store: StoreOptions
      /** What the node shows the store, and believes of it. */
      readonly tls?: TlsOptions
      readonly databases?: readonly string[]
    }

/** The lease in a store (cluster/stores/lease-store.ts). The origins have scheme, host and port. */
export type StoreOptions = EtcdStoreOptions | ConsulStoreOptions

interface SharedStoreOptions {
  readonly origins: readonly string[]
  /** For people: without user and password. */
  readonly where: string
  readonly ttlMs: number
}

export interface EtcdStoreOptions extends SharedStoreOptions {
  readonly kind: "etcd"
  /** Before the names of the keys, without a slash at its end. */
  readonly prefix: string
  /** Never log it. */
  readonly user?: { readonly name: string; readonly password: string }
}

export interface ConsulStoreOptions extends SharedStoreOptions {
  readonly kind: "consul"
  readonly key: string
  readonly lockDelayMs: number
  /** Never log it. */
  readonly token?: string
  /** The node of Consul's catalogue that sessions belong to; undefined: that of the agent. */
  readonly node?: string
}

export interface RetentionOptions {
  /** How long LTX files are kept, milliseconds. */
  readonly ageMs: number
  /** Time between checks, milliseconds. */
  readonly intervalMs: number
  /** Bytes of LTX files of one database that are kept beyond their age for replicas that lack them. */
  readonly sizeMax: number
}

/**
 * `behind`: on the primary, clients write to WALs past the daemon, which captures behind them (mount/bypass.ts).
 * `strict`: each of their writes is a request. Without passthrough, everybody is strict.
 */
export interface CaptureOptions {
  readonly wanted: "auto" | "behind" | "strict"
  /** With `auto`: why these options need `strict`. */
  readonly obstacle?: string
}

export interface SyncOptions {
  /** How many replicas must have a transaction durably before its client hears of it; at least 1. */
  readonly replicas: number
  /** When there are too few: refuse commits, or go on without. */
  readonly mode: "strict" | "degrade"
  /** For how long a commit waits before that. */
  readonly timeoutMs: number
}

/** Paths of PEM files. Certificate and key come together. */
export interface TlsOptions {
  readonly certPath?: string
  readonly keyPath?: string
  readonly caPath?: string
}

export interface ListenAddress {
  /** A host name or an IP address without brackets. Empty: every interface, IPv6 and IPv4. */
  readonly host: string
  /** 0 lets the system choose a free one. */
  readonly port: number
}

export interface ProxyOptions {
  /** Where clients connect. */
  readonly address: ListenAddress
  /** Where the application listens. */
  readonly target: ListenAddress
  /** The databases whose positions clients hear; a token without a name is for the first one. */
  readonly databases: readonly string[]
  /** Patterns of paths, with `*`. */
  readonly passthrough: readonly string[]
  readonly alwaysForward: readonly string[]
  readonly mode: "forward" | "fly-replay"
  /** For `/litefs/health`; 0: no limit. */
  readonly maxLagMs: number
  /** How long a write waits for a primary. */
  readonly redirectTimeoutMs: number
  /** How long a read waits for its position, before the primary is asked. */
  readonly readTimeoutMs: number
  /**
   * Where other nodes reach this proxy, without a path; undefined: the host of their API's URL, at the proxy's port.
   */
  readonly advertiseUrl?: string
  /** Log every request. */
  readonly isDebugging: boolean
}
