/** The connection to the primary, for those who want it made anew. A primary has none. */
import type { Replica } from "../../cluster/replica/replica.ts"

export class PrimaryConnection {
  replica: Replica | undefined

  /** Connects anew. The primary then sends what is missing. */
  reconnect(): void {
    this.replica?.reconnect()
  }
}
