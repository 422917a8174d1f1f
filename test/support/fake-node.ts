import type { SupervisedNode } from "../../src/cli/supervisor.ts"

/** A node that does what the test says, and remembers what was asked of it. */
export class FakeNode implements SupervisedNode {
  readonly calls: string[] = []
  readonly becomeReady = Promise.withResolvers<void>()
  readonly fail = Promise.withResolvers<Error>()
  readonly failed = this.fail.promise
  closeNode: () => Promise<void> = async () => {}

  ready(signal: AbortSignal): Promise<void> {
    this.calls.push("ready")
    signal.addEventListener("abort", () => {
      this.calls.push("aborted")
      this.becomeReady.reject(signal.reason)
    })
    return this.becomeReady.promise
  }

  close(): Promise<void> {
    this.calls.push("close")
    return this.closeNode()
  }
}
