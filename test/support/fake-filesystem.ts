import type { Attributes, Entry, FileSystem } from "../../src/fuse/filesystem.ts"

/** A file system whose every method does nothing and succeeds, except those given. */
export function fakeFileSystem(methods: Partial<FileSystem> = {}): FileSystem {
  return {
    lookup: () => undefined,
    forget: () => {},
    getAttributes: (nodeId, into) => void Object.assign(into, attributes({ nodeId })),
    setAttributes: (nodeId, _change, into) => void Object.assign(into, attributes({ nodeId })),
    open: () => {},
    create: () => entry(),
    read: () => 0,
    write: (_nodeId, _handle, _offset, size) => size,
    allocate: () => {},
    flush: () => undefined,
    release: () => {},
    sync: () => undefined,
    flock: () => undefined,
    getLock: () => undefined,
    setLock: () => undefined,
    unlink: () => undefined,
    rename: () => {},
    list: () => [],
    syncDirectory: () => {},
    statfs: () => {},
    ...methods,
  }
}

export function attributes(given: Partial<Attributes> = {}): Attributes {
  return {
    nodeId: 5,
    size: 4096,
    blocks: 8,
    mode: 0o100644,
    nlink: 1,
    uid: 1000,
    gid: 1001,
    mtimeMs: 1_700_000_000_250,
    atimeMs: 0,
    ctimeMs: -500,
    blockSize: 4096,
    timeout: 60,
    ...given,
  }
}

export function entry(given: Partial<Entry> = {}): Entry {
  return { nodeId: 5, generation: 2, attributes: attributes(), entryTimeout: 1.5, ...given }
}
