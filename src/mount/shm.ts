import { BackedEntry } from "./entry.ts"

/** `<db>-shm`: the wal-index, which clients map into memory. It is rebuilt after a crash, so it is never synced. */
export class ShmEntry extends BackedEntry {
  override sync(): void {}
}
