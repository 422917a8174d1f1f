/**
 * For the doctor: what a data directory says of its node and its cluster. LiteFS does not start with a `clusterid` or a
 * `lease.json` that it cannot read, and does without a `clusterkey` that it cannot.
 */
import type { DamagedDir } from "../../doctor/damaged-dir.ts"
import { type Finding, note, problem } from "../../doctor/finding.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { readClusterId, writeClusterId } from "./cluster-id.ts"
import { isClusterKey } from "./cluster-key.ts"
import { readLeaseFile } from "./static-lease.ts"

export function identityFindings({ leasePath, clusterIdPath, clusterKeyPath }: DataDir): Finding[] {
  const findings: Finding[] = []
  const lease = damaged(() => readLeaseFile(leasePath))
  if (lease === "damaged") {
    const what = "it is not a lease record, and LiteFS does not start with it"
    const options = [
      "put the file of a backup of this data directory there",
      "move it away: the node then starts under a new id, and learns from the others who is the primary",
    ]
    findings.push(problem("lease-record", leasePath, what, { options }))
  }
  if (damaged(() => readClusterId(clusterIdPath)) === "damaged") {
    const what = "it holds no cluster id, and LiteFS does not start with it"
    const copy = lease === "damaged" ? undefined : lease?.cluster
    const repair = copy && {
      does: "makes it again from the copy in lease.json",
      run: (damaged: DamagedDir) => {
        damaged.move(clusterIdPath, "clusterid")
        writeClusterId(clusterIdPath, copy)
      },
    }
    const options = ["copy the file clusterid from the data directory of another node"]
    findings.push(problem("cluster-id", clusterIdPath, what, repair ? { repair } : { options }))
  }
  if (isClusterKey(clusterKeyPath) === false) {
    const what =
      "it cannot be read: a replica takes that of its primary, and a primary that restarts makes another"
    findings.push(note("cluster-key", clusterKeyPath, what))
  }
  return findings
}

function damaged<T>(read: () => T): T | "damaged" {
  try {
    return read()
  } catch (error) {
    if (error instanceof LitefsError && error.code === "damaged") return "damaged"
    throw error
  }
}
