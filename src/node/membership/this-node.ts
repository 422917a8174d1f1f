/**
 * Who this node is among the others, and what it says of itself with every request and every answer.
 *
 * Its role follows from the record that it keeps (cluster/role/member.ts).
 */

import { hostname } from "node:os"
import { ClusterId, NO_CLUSTER } from "../../cluster/role/cluster-id.ts"
import { ClusterKey } from "../../cluster/role/cluster-key.ts"
import { encodeLease, LEASE_HEADER, type LeaseNode } from "../../cluster/role/lease.ts"
import { StaticLease } from "../../cluster/role/static-lease.ts"
import { authHeaders } from "../../http/server/auth.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import type { DataDir } from "../../store/data-dir.ts"
import type { DatabaseFilter } from "../../wire/database-filter.ts"
import {
  ACKNOWLEDGES_HEADER,
  ADVERTISE_URL_HEADER,
  CANDIDATE_HEADER,
  PRIMARY_URL_HEADER,
  RUN_HEADER,
  WANTS_PRIMARY_HEADER,
} from "../../wire/protocol.ts"
import type { Surroundings } from "../surroundings.ts"

export class ThisNode {
  readonly lease: StaticLease
  readonly clusterId: ClusterId
  readonly clusterKey: ClusterKey
  readonly hostname: string
  readonly hasDatabases: () => boolean
  /** Identifies this process. */
  readonly run: string
  /** The only databases of the node; all when it is undefined. */
  readonly filter: DatabaseFilter | undefined
  /** Whether it is, or may become, the primary. */
  readonly isCandidate: boolean
  /** whether it is about to stop, and takes no role any more */
  isLeaving = false
  /** Where others reach the primary that it is connected to. */
  primaryUrl: string | undefined
  readonly #options: LiteFSOptions
  readonly #surroundings: Surroundings
  #url: string

  constructor(
    options: LiteFSOptions,
    surroundings: Surroundings,
    dataDir: DataDir,
    filter: DatabaseFilter | undefined,
  ) {
    const { role, hostname } = options
    const { files, randomBytes } = surroundings
    this.#options = options
    this.#surroundings = surroundings
    this.run = randomBytes(8).toString("hex")
    this.filter = filter
    this.clusterKey = new ClusterKey(dataDir.clusterKeyPath, files)
    this.lease = new StaticLease(dataDir.leasePath, () => this.#randomU64(), files)
    this.clusterId = new ClusterId(dataDir.clusterIdPath, (id) => this.lease.setCluster(id), files)
    this.hasDatabases = () => dataDir.databaseNames().length > 0
    this.hostname = hostname
    this.#url = options.advertiseUrl ?? ""
    this.isCandidate =
      filter === undefined &&
      (role.kind === "primary" || options.isCandidate || options.promote) === true
  }

  #randomU64(): bigint {
    return this.#surroundings.randomBytes(8).readBigUInt64BE()
  }

  /** Whether others may call this machine by that name. */
  isOwnName(name: string): boolean {
    const names = [
      this.hostname,
      hostname(),
      ...(this.#url === "" ? [] : [new URL(this.#url).hostname]),
    ]
    return names.some((each) => each.toLowerCase() === name)
  }

  get id(): string {
    return this.lease.id
  }

  /** Where other nodes reach it. Empty while that is unknown. */
  get url(): string {
    return this.#url
  }

  /** Its API answers at this port. */
  listensAt(port: number): void {
    this.#url ||= derivedUrl(this.#options, port)
  }

  /** Call it when this node starts as the primary. Throws when its cluster has an id that it does not know. */
  ensureCluster(): void {
    const { lease, clusterKey } = this
    const past = {
      copy: lease.cluster,
      hasRecord: lease.record !== undefined,
      hasKey: clusterKey.value !== undefined,
      hasDatabases: this.hasDatabases(),
    }
    this.clusterId.ensure(past, () => this.#randomU64())
    clusterKey.make(this.#surroundings.randomBytes)
  }

  get self(): LeaseNode {
    return { id: this.lease.id, hostname: this.hostname, url: this.#url }
  }

  /** Why it can never be the primary; undefined when it can. */
  get ineligibility(): string | undefined {
    if (this.filter !== undefined) return "it has some of the databases only"
    if (this.clusterId.value !== undefined) return undefined
    return this.clusterKey.value === undefined
      ? "it has never followed a primary"
      : `it ${NO_CLUSTER}`
  }

  /** The record as other nodes hear it. */
  get news(): string | undefined {
    const { record } = this.lease
    const cluster = this.clusterId.value
    return record && encodeLease(record, cluster, this.clusterKey.seal(record, cluster))
  }

  /** Headers of every request and every answer. */
  get headers(): Record<string, string> {
    return { "Litefs-Id": this.lease.id, "Litefs-Hostname": this.hostname, [RUN_HEADER]: this.run }
  }

  get #changingHeaders(): Record<string, string> {
    const { clusterId, news } = this
    return {
      ...(clusterId.value === undefined ? {} : { "Litefs-Cluster-Id": clusterId.value }),
      ...(news && { [LEASE_HEADER]: news }),
    }
  }

  /** Further headers of every answer, with their present values. */
  get answerHeaders(): Record<string, string> {
    return {
      ...this.#changingHeaders,
      ...(this.primaryUrl === undefined ? {} : { [PRIMARY_URL_HEADER]: this.primaryUrl }),
      ...(this.lease.record === undefined && this.#options.role.kind === "primary"
        ? { [WANTS_PRIMARY_HEADER]: "1" }
        : {}),
    }
  }

  get requestHeaders(): Record<string, string> {
    return {
      ...this.headers,
      ...this.#changingHeaders,
      ...authHeaders(this.#options.authToken),
      [ADVERTISE_URL_HEADER]: this.#url,
      [ACKNOWLEDGES_HEADER]: "1",
      ...(this.isCandidate && !this.isLeaving ? { [CANDIDATE_HEADER]: "1" } : {}),
    }
  }
}

/** Whether users of the API have to show something that only nodes of the cluster have. */
export function isGuarded({ authToken, tls }: LiteFSOptions): boolean {
  return authToken !== undefined || (tls?.certPath !== undefined && tls.caPath !== undefined)
}

/** Where other nodes reach this one, as far as it can tell by itself. */
function derivedUrl({ httpAddr, hostname, tls }: LiteFSOptions, port: number): string {
  const { host } = httpAddr
  const name = host === "" || host === "0.0.0.0" || host === "::" ? hostname : host
  const scheme = tls?.certPath === undefined ? "http" : "https"
  const url = `${scheme}://${name.includes(":") ? `[${name}]` : name}:${port}`
  return URL.canParse(url) ? new URL(url).origin : `${scheme}://127.0.0.1:${port}`
}
