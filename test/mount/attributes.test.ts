import { expect, test } from "bun:test"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Attributes, ROOT_ID } from "../../src/fuse/filesystem.ts"
import { RecordedLog } from "../support/recorded-log.ts"
import { RecoveredNode } from "../support/recovered-node.ts"

const CALLER = { uid: 0, gid: 0, pid: 0 }

test("the size beside a changed mode is not kept, as the database may have grown when the kernel gets it", () => {
  const root = mkdtempSync(join(tmpdir(), "litefs-attributes-"))
  const node = RecoveredNode.start(root, new RecordedLog().logger)
  try {
    const { directory } = node
    const opened = { handle: 0, flags: 0, backingId: 0 }
    const { nodeId } = directory.create(ROOT_ID, "a.db", 0, 0o600, CALLER, opened)
    const into = {} as Attributes
    directory.getAttributes(nodeId, into)
    expect(into.timeout).toBeGreaterThan(0)
    const none = { size: undefined, handle: undefined, uid: undefined, gid: undefined }
    directory.setAttributes(nodeId, { ...none, mode: 0o640 } as never, into, CALLER)
    expect(into.mode & 0o777).toBe(0o640)
    expect(into.timeout).toBe(0)
  } finally {
    node.kill()
    rmSync(root, { recursive: true })
  }
})
