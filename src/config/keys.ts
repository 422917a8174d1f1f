/**
 * Every key of the original's `litefs.yml`, and what becomes of it here.
 *
 * A key with a `flag` is that flag of `litefs mount`, and is checked like it. Other files handle keys with neither a
 * flag nor a reason: `exec.ts` makes commands, and `lease.ts` the flags that `becomes` names, by the role in the file.
 */
type KeyType = "boolean" | "text" | "integer" | "duration" | "texts" | "exec" | "section"

export interface Key {
  readonly type: KeyType
  readonly flag?: string
  readonly becomes?: readonly string[]
  /** Why it changes nothing here. The user hears of it, unless the value is `silentFor`. */
  readonly noEffect?: string
  readonly silentFor?: unknown
  /** Why it is refused: the file asks for something that LiteFS would not do. */
  readonly gone?: string
}

const NO_CLOUD =
  "LiteFS Cloud was shut down in 2024 and there is no backup client here, take the section out and run litefs export regularly"

// --proxy-read-timeout is something else: how long a read waits for its client's own writes.
const WITH_LIMITS = "the proxy has its own limits for connections that make no progress"

const WITH_CONSUL = "it is for leases of Consul"

export const KEYS: Readonly<Record<string, Key>> = {
  "exit-on-error": { type: "boolean", flag: "exit-on-error" },
  "skip-sync": { type: "boolean", flag: "skip-sync" },
  "strict-verify": {
    type: "boolean",
    noEffect: "litefs doctor compares databases with their checksums",
    silentFor: false,
  },
  exec: { type: "exec" },

  fuse: { type: "section" },
  "fuse.dir": { type: "text", flag: "fuse-dir" },
  "fuse.allow-other": { type: "boolean", flag: "allow-other" },
  "fuse.debug": { type: "boolean", flag: "fuse-debug" },

  data: { type: "section" },
  "data.dir": { type: "text", flag: "data-dir" },
  "data.compress": {
    type: "boolean",
    noEffect: "what is compressed is not a choice here",
    silentFor: true,
  },
  "data.retention": { type: "duration", flag: "retention" },
  "data.retention-monitor-interval": { type: "duration", flag: "retention-interval" },

  http: { type: "section" },
  "http.addr": { type: "text", flag: "http-addr" },
  "http.snapshot-timeout": {
    type: "duration",
    noEffect: "a snapshot may take as long as it makes progress",
  },

  proxy: { type: "section" },
  "proxy.addr": { type: "text", flag: "proxy-addr" },
  "proxy.target": { type: "text", flag: "proxy-target" },
  "proxy.db": { type: "text", flag: "proxy-db" },
  "proxy.max-lag": { type: "duration", flag: "proxy-max-lag" },
  "proxy.debug": { type: "boolean", flag: "proxy-debug" },
  "proxy.passthrough": { type: "texts", flag: "proxy-passthrough" },
  "proxy.always-forward": { type: "texts", flag: "proxy-always-forward" },
  "proxy.primary-redirect-timeout": { type: "duration", flag: "proxy-primary-redirect-timeout" },
  "proxy.read-timeout": { type: "duration", noEffect: WITH_LIMITS },
  "proxy.read-header-timeout": { type: "duration", noEffect: WITH_LIMITS },
  "proxy.write-timeout": { type: "duration", noEffect: WITH_LIMITS },
  "proxy.idle-timeout": { type: "duration", noEffect: WITH_LIMITS },

  lease: { type: "section" },
  "lease.type": { type: "text" },
  // A static replica has its own name: the file has that of the primary.
  "lease.hostname": { type: "text", becomes: ["hostname"] },
  "lease.advertise-url": { type: "text", becomes: ["advertise-url", "primary-url"] },
  "lease.candidate": { type: "boolean", becomes: ["primary", "candidate"] },
  // For a static primary whose role has gone to another node. A static replica never becomes the primary.
  "lease.promote": { type: "boolean", becomes: ["promote"] },
  "lease.reconnect-delay": {
    type: "duration",
    noEffect: "a replica tries again at once, and then at growing intervals of up to seconds",
  },
  "lease.demote-delay": {
    type: "duration",
    noEffect: "a primary gives its role to another node, and does not just put it down",
  },
  "lease.databases": { type: "texts", becomes: ["databases"] },
  "lease.consul": { type: "section" },
  "lease.consul.url": { type: "text", becomes: ["lease"], noEffect: WITH_CONSUL },
  "lease.consul.key": { type: "text", becomes: ["lease"], noEffect: WITH_CONSUL },
  "lease.consul.ttl": { type: "duration", becomes: ["lease"], noEffect: WITH_CONSUL },
  "lease.consul.lock-delay": { type: "duration", becomes: ["lease"], noEffect: WITH_CONSUL },

  backup: { type: "section" },
  "backup.type": { type: "text", gone: NO_CLOUD },
  "backup.path": { type: "text", gone: NO_CLOUD },
  "backup.url": { type: "text", gone: NO_CLOUD },
  "backup.cluster": { type: "text", gone: NO_CLOUD },
  "backup.auth-token": { type: "text", gone: NO_CLOUD },

  log: { type: "section" },
  "log.format": { type: "text", flag: "log-format" },
  "log.timestamp": {
    type: "boolean",
    noEffect: "lines of the format json have the time",
    silentFor: false,
  },
  "log.debug": { type: "boolean", becomes: ["log-level"] },

  tracing: { type: "section" },
  "tracing.enabled": { type: "boolean" },
  "tracing.path": {
    type: "text",
    noEffect: "traces are lines of the log, with --log-level trace",
  },
  "tracing.max-size": { type: "integer" },
  "tracing.max-count": { type: "integer" },
  "tracing.compress": { type: "boolean" },
}

/** Keys from before version 0.3, and what they have become. */
export const MOVED: Readonly<Record<string, string>> = {
  "mount-dir": "fuse.dir",
  "data-dir": "data.dir",
  debug: "fuse.debug",
  candidate: "lease.candidate",
  consul: "lease.consul",
  static: "lease",
  retention: "data.retention",
  http_addr: "http.addr",
}
