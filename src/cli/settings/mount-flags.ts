/** The flags of `litefs mount`, and its help text. */
import { LOG_FORMATS, LOG_LEVELS } from "../../lib/log.ts"
import { DatabaseFilter } from "../../wire/database-filter.ts"
import { ACCESS_FLAGS } from "../terminal/access.ts"
import type { CommandForm } from "../terminal/command.ts"
import { type FlagTable, Unfit } from "../terminal/flags.ts"
import { FUSE_FLAGS } from "./fuse-flags.ts"
import { LEASE_FLAGS } from "./lease-flags.ts"
import { COMMAND_FLAGS } from "./mount-commands.ts"
import { CONFIG_FLAGS } from "./mount-config.ts"
import { PROXY_FLAGS } from "./proxy-flags.ts"
import { SYNC_FLAGS } from "./sync-flags.ts"

const NODE_URL = "http://10.0.0.1:20202"

export const MOUNT_FLAGS = {
  "fuse-dir": {
    kind: "text",
    placeholder: "DIR",
    default: "/litefs",
    help: "mount here; an empty directory, or one to be made",
  },
  "data-dir": {
    kind: "text",
    placeholder: "DIR",
    default: "/var/lib/litefs",
    help: "keep the databases and their history here",
  },
  primary: {
    kind: "boolean",
    help: "be the primary, unless a newer lease record names another",
    more: "the one node that takes writes",
  },
  "primary-url": {
    kind: "url",
    like: NODE_URL,
    help: "be a replica of the node at this URL",
    more: "unless the lease record names this node",
  },
  ...LEASE_FLAGS,
  candidate: {
    kind: "boolean",
    help: "may become the primary: by a handoff, or by litefs promote",
    more: "One that was started with `--primary` always may. The primary hands over only when it reaches it at its `--advertise-url`",
  },
  promote: {
    kind: "boolean",
    help: "become the primary at the start, once in sync; implies --candidate",
  },
  "no-handoff-on-exit": {
    kind: "boolean",
    help: "stop a primary without giving its role to a candidate",
  },
  peer: {
    kind: "url",
    like: NODE_URL,
    isList: true,
    separator: ",",
    help: "ask this node who is the primary; may be given several times",
    more: "before an old record is believed",
  },
  databases: {
    kind: "special",
    placeholder: "NAMES",
    read: (text: string) => DatabaseFilter.parse(text).patterns,
    help: "on a replica: only these, like a.db,log-*.db (default: all)",
    more: "It does not request or show others",
  },
  hostname: {
    kind: "special",
    placeholder: "NAME",
    read: hostnameOf,
    help: "this node's name for other nodes (default: the host's)",
    more: "what `.primary` says",
  },
  "advertise-url": {
    kind: "url",
    like: NODE_URL,
    help: "where other nodes reach this node's API (default: its host and port)",
    more: "what the lease record says. On several machines a candidate needs `--http-addr :20202`, and this where its `--hostname` does not resolve",
  },
  "http-addr": {
    kind: "address",
    like: "127.0.0.1:20202",
    default: "127.0.0.1:20202",
    help: "serve the API here; :20202 is every interface",
  },
  ...FUSE_FLAGS,
  ...ACCESS_FLAGS,
  ...PROXY_FLAGS,
  "forward-writes": {
    kind: "boolean",
    help: "let programs write on a replica; a read costs two requests, or four",
    more: "SQLite's locks become requests to LiteFS, on any node that has this flag: a read costs two round trips in WAL mode and four in others, without it none",
  },
  ...SYNC_FLAGS,
  retention: {
    kind: "duration",
    isPositive: true,
    default: "10m",
    help: "keep LTX files for this long",
  },
  "retention-interval": {
    kind: "duration",
    isPositive: true,
    default: "1m",
    help: "look for old LTX files this often",
  },
  "retention-max-size": {
    kind: "size",
    default: "1GiB",
    help: "per database, for replicas that lag behind",
    more: "LTX files are kept longer for these, up to this size",
  },
  "snapshot-rate": {
    kind: "rate",
    help: "send snapshots no faster, like 50MB/s (default: unlimited)",
    more: "all together; 64 KiB/s at least",
  },
  "log-level": { kind: "choice", choices: LOG_LEVELS, default: "info", help: "how much to log" },
  "log-format": {
    kind: "choice",
    choices: LOG_FORMATS,
    default: "text",
    help: "how to log it; plain is text without the time",
    more: "which journald adds itself",
  },
  "fuse-debug": { kind: "boolean", help: "log every request of the kernel" },
  ...COMMAND_FLAGS,
  ...CONFIG_FLAGS,
} as const satisfies FlagTable

export type MountFlags = typeof MOUNT_FLAGS

export const MOUNT_SYNTAX: CommandForm<MountFlags> = {
  name: "mount",
  flags: MOUNT_FLAGS,
  takesCommand: true,
  originals: {
    "fuse.debug": { flag: "fuse-debug", text: "true" },
    debug: { flag: "log-level", text: "debug" },
    tracing: { flag: "log-level", text: "trace" },
    "skip-unmount": {
      noEffect: "only the mount of a litefs that was killed is ever unmounted at the start",
    },
  },
  about: `The mount command will mount a directory via FUSE, replicate the SQLite
databases in it, and run a command next to it. One node is the primary, which
takes the writes; every other node is a replica of it, which serves reads.`,
  usage: "litefs mount [flags] [-- COMMAND ARGS...]",
  notes: `Exactly one of --primary, --primary-url and --lease is required, or a litefs.yml.
One as a flag and another one as a variable are two, and refused.

A lease record on every node says which is the primary. It changes when a primary
hands its role over: to a candidate that asks for it, or when it is stopped.
What the record says wins over --primary and --primary-url.

With --lease a store says which node is the primary, and when that one is gone, the
candidate that has most becomes it: --lease etcd://HOST:2379/PREFIX, or
consul://HOST:8500/KEY. A primary that cannot renew its lease takes no writes.

With a token, requests without it are refused. With a certificate the API is
served with TLS, and with --http-tls-ca too, nodes and commands have to show a
certificate that it has signed.

COMMAND is started when the mount is ready, which on a replica means that it
has caught up with the primary. Its arguments are passed on as they are,
without a shell. Signals are forwarded to it, and when it ends, LiteFS
unmounts and exits with its exit code. Without a command LiteFS runs until it
is told to stop.

Before it, the CMDs of --exec and --exec-if-candidate run one after the other;
one that fails ends LiteFS with its exit code. CMD is split into words as a
shell does it, and no shell runs: for more, write sh -c '...'. All of them find
LITEFS_ROLE, LITEFS_FUSE_DIR, LITEFS_URL and other facts in their environment.

Without a role on the command line and in the environment, the role and
everything else is read from --config, or the first of ./litefs.yml,
~/litefs.yml and /etc/litefs.yml.`,
  examples: `# the primary, and a program that uses /litefs/app.db
litefs mount --primary --http-addr :20202 -- node server.js

# a replica of it, on another machine
litefs mount --primary-url http://10.0.0.1:20202 -- node server.js

# with a migration before it, where writes are taken
litefs mount --primary --exec 'litefs run --if-primary -- npm run migrate' -- node server.js

# one of three nodes that may be the primary; etcd says which one is
litefs mount --lease etcd://10.0.0.9:2379/app --candidate --http-addr :20202 -- node server.js

# with the file of the original
litefs mount --config /etc/litefs.yml

# in a script
exec litefs mount --primary-url "$PRIMARY_URL" -- "$@"`,
}

/** It becomes the content of `.primary`, a file of one line. */
export function hostnameOf(text: string): string {
  if (/^[^\s\p{Cc}]+$/u.test(text)) return text
  throw new Unfit("it should be one word")
}
