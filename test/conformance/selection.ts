/** Which of SQLite's tests are run: those whose subject is a file, a lock or a journal, not the language SQL. */
import type { Subject } from "./subject.ts"

/** Beginnings of the names of TCL files. */
const FILES = [
  ...["wal", "pager", "jrnlmode", "journal", "lock", "shmlock", "superlock", "exclusive", "busy"],
  ...["vacuum", "autovacuum", "incrvacuum", "e_vacuum", "securedel", "zerodamage", "fallocate"],
  ...["mmap", "bigmmap", "backup", "attach", "trans", "rollback", "savepoint", "subjournal"],
  ...["crash", "writecrash", "ioerr", "diskfull", "corrupt", "dbfuzz", "shortread", "statfault"],
  ...["syscall", "sysfault", "oserror", "openv2", "uri", "e_uri", "symlink", "unixexcl", "nolock"],
  ...["nockpt", "rdonly", "readonly", "walro", "sync", "io.", "filefmt", "filectrl", "format4"],
  ...["shared", "thread", "notify", "unlock", "snapshot", "external_reader", "cacheflush"],
  ...["tempdb", "temptable", "tempfault", "memjournal", "multiplex", "quota", "pagesize"],
  ...["pageropt", "pcache", "pragma", "dbpage", "dbstatus", "delete_db", "sidedelete", "atomic"],
  ...["incrblob", "incrcorrupt", "interrupt", "recover", "resetdb", "shrink", "stat", "stmt"],
  ...["swarmvtab", "bigfile", "bigrow", "lfs", "alter", "analyze", "btree", "capi3", "chunksize"],
  ...["createtab", "cksumvfs", "collate", "delete", "descidx", "e_wal", "e_fkey", "enc", "fkey"],
  ...["hook", "index.", "index2", "insert", "large_file", "minmax", "misc", "mutex", "nan"],
  ...["queryonly", "reindex", "rowallock", "schema", "select1", "sort", "sqldiff", "tclsqlite"],
  ...["update", "upsert", "utf16align", "view", "without_rowid", "tkt1", "tkt2", "tkt3", "fts3aa"],
  ...["fts4merge", "fts5aa", "rtree1", "sessionB", "session1", "rbu1", "ota", "zipfile", "e_"],
]

/** They need minutes on any file system and test SQLite's memory, or faults that it makes itself. */
const NOT =
  /malloc|walslow|backup_ioerr|fault|(?:^|_)ioerr|shared_err|thread00|walcrash3|e_fkey|_err\.|sort[34]|crash[2-7]?\.test|walthread|swarmvtabfault|fuzz|savepoint[46]|notify2|vacuum3|corruptC|corrupt\.test|securedel2|multiplex3|tkt2686|walprotocol/

/** A file of tests has a node of its own, and copies of databases take a program each: what has few is fast. */
export const SHORT: readonly string[] = [
  ...["wal.test", "wal2.test", "walmode.test", "walpersist.test", "walcksum.test", "jrnlmode.test"],
  ...["vacuum.test", "lock.test", "lock2.test", "lock4.test", "mmap1.test"],
  ...["attach.test", "rollback2.test", "savepoint.test", "exclusive.test", "pager3.test"],
  ...["mptest wal crash01", "mptest delete multiwrite01"],
  "speedtest1 --journal wal --mmap 100000000",
]

export function longForm(all: readonly Subject[]): Subject[] {
  return all.filter(({ name }) => {
    if (!name.endsWith(".test")) return true
    return FILES.some((start) => name.startsWith(start)) && !NOT.test(name)
  })
}

export function shortForm(all: readonly Subject[]): Subject[] {
  return all.filter(({ name }) => SHORT.includes(name))
}

/** Those that somebody means: by the whole name, with or without its ending, or by its beginning in words. */
export function named(all: readonly Subject[], name: string): Subject[] {
  return all.filter((each) => {
    return each.name === name || each.name === `${name}.test` || each.name.startsWith(`${name} `)
  })
}
