import type { NodeFacts } from "../../src/cli/command/child-environment.ts"
import type { SupervisedNode } from "../../src/cli/command/supervisor-state.ts"

/** A node that does what the test says, and remembers what was asked of it. */
export class FakeNode implements SupervisedNode {
  readonly calls: string[] = []
  readonly becomeReady = Promise.withResolvers<void>()
  readonly fail = Promise.withResolvers<Error>()
  readonly failed = this.fail.promise
  isCandidate = true
  /** Why it is not ready. */
  reason: string | undefined
  databasesLeftOut: readonly string[] = []
  leaveNode: (() => Promise<void>) | undefined
  closeNode: () => Promise<void> = async () => {}

  facts(): NodeFacts {
    return {
      isPrimary: this.isCandidate,
      isCandidate: this.isCandidate,
      port: 20202,
      primaryHostname: "node-1",
      primaryUrl: "http://10.0.0.1:20202",
    }
  }

  leftOut(): readonly string[] {
    return this.databasesLeftOut
  }

  waitsFor(): string | undefined {
    return this.reason
  }

  ready(signal: AbortSignal): Promise<void> {
    this.calls.push("ready")
    signal.addEventListener("abort", () => {
      this.calls.push("aborted")
      this.becomeReady.reject(signal.reason)
    })
    return this.becomeReady.promise
  }

  leave(): Promise<void> | undefined {
    if (this.leaveNode === undefined) return undefined
    this.calls.push("leave")
    return this.leaveNode()
  }

  close(): Promise<void> {
    this.calls.push("close")
    return this.closeNode()
  }
}
