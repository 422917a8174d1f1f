/** The connection to the primary, for those who want it made anew. There is none on a primary. */
import type { Replica } from "../../cluster/replica/replica.ts"

export class PrimaryConnection {
  replica: Replica | undefined

  /** Connects anew: then the primary sends what is missing. */
  reconnect(): void {
    this.replica?.reconnect()
  }
}
