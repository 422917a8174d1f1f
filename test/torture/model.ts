/**
 * What torture writers write: transactions whose content follows from their number, so that whoever reads the
 * database can tell a whole transaction from a partial, a lost or a doubled one.
 *
 * Transaction n, made by writer w:
 *
 *   tx        one row (n, w). Numbers have no gaps: each is the highest so far plus one.
 *   part      as many rows as n says, with bodies that n says, scattered over the tree by a hash. Parts of
 *             transactions more than WINDOW back are deleted, so the database shrinks and grows but stays small.
 *   account   an amount goes from one to another: balances sum to 0, versions to 2n.
 *
 * All of it is SQL, for better-sqlite3 and sqlite3(1) alike. The number is last_insert_rowid(): rows of tables
 * without rowid do not touch it, so it can be asked for after the commit.
 */

import { STRICT } from "../support/node.ts"
import { IS_THOROUGH, type Random } from "../support/random.ts"

export const WINDOW = 120
const ACCOUNTS = 50

export const MODES = ["delete", "truncate", "persist", "wal"] as const
export type JournalMode = (typeof MODES)[number]

/**
 * For what takes long: the rollback modes differ in how they end their journal, so one of them, by chance, shows what all
 * do. All with LITEFS_ALL_FAULTS.
 */
export function someModes(random: Random): readonly JournalMode[] {
  return [...someRollbackModes(random), "wal"]
}

export function someRollbackModes(random: Random): readonly Exclude<JournalMode, "wal">[] {
  const modes = ["delete", "truncate", "persist"] as const
  return IS_THOROUGH ? modes : [random.pick(modes)]
}

/** The same with what a name and inCapture() say of how a WAL is captured: in both ways. */
export function someWays(random: Random): readonly [JournalMode, string][] {
  const modes = someModes(random).map((mode): [JournalMode, string] => [mode, ""])
  return [...modes, ["wal", STRICT]]
}

/** `mixed`: every writer chooses a mode, with one writer at a time. */
export type Mode = (typeof MODES)[number] | "mixed"

const count = (n: string) =>
  `CASE WHEN ${n} % 41 = 0 THEN 400 WHEN ${n} % 7 = 0 THEN 40 ELSE 1 + ${n} % 4 END`
const hash = (n: string, k: string) => `((${n} * 40503 + ${k} * 9973) % 4093)`
const body = (n: string, k: string) => `substr(
  replace(hex(zeroblob(400)), '00', printf('%08x', (${n} * 2654435761 + ${k} * 40503) % 4294967296)),
  1, CASE WHEN (${n} + ${k}) % 53 = 0 THEN 3000 ELSE 20 + (${n} * 7 + ${k} * 13) % 180 END)`

export function schemaSql(mode: Mode, pageSize: number, autoVacuum: string): string {
  return `
PRAGMA page_size = ${pageSize};
PRAGMA auto_vacuum = ${autoVacuum};
PRAGMA journal_mode = ${mode === "mixed" ? "delete" : mode};
BEGIN;
CREATE TABLE tx (n INTEGER PRIMARY KEY, writer INTEGER NOT NULL);
CREATE TABLE part (h INTEGER, n INTEGER, k INTEGER, body TEXT, PRIMARY KEY (h, n, k)) WITHOUT ROWID;
CREATE INDEX part_n ON part (n);
CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, version INTEGER, pad TEXT);
WITH RECURSIVE s(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM s WHERE k < ${ACCOUNTS - 1})
INSERT INTO account SELECT k, 0, 0, hex(zeroblob(150)) FROM s;
COMMIT;
`
}

/** One transaction. `SELECT last_insert_rowid()` after it tells its number. */
export function transactionSql(writer: number): string {
  const n = "last_insert_rowid()"
  return `BEGIN IMMEDIATE;
INSERT INTO tx SELECT coalesce(max(n), 0) + 1, ${writer} FROM tx;
UPDATE account SET version = version + 1,
  balance = balance + CASE id WHEN ${n} % ${ACCOUNTS} THEN ${n} % 97 ELSE -(${n} % 97) END
  WHERE id IN (${n} % ${ACCOUNTS}, (${n} * 7 + 1) % ${ACCOUNTS});
WITH RECURSIVE s(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM s WHERE k < (${count(n)}))
INSERT INTO part SELECT ${hash(n, "k")}, ${n}, k, ${body(n, "k")} FROM s;
DELETE FROM part WHERE n <= ${n} - ${WINDOW};
COMMIT;
`
}

export const CHECKS: readonly string[] = [
  "SELECT 'numbers have gaps: ' || count(*) || ' up to ' || max(n) FROM tx HAVING count(*) <> coalesce(max(n), 0)",
  `SELECT 'transaction ' || n || ' has ' || have || ' of ' || want || ' parts' FROM (
     SELECT n, ${count("tx.n")} AS want, (SELECT count(*) FROM part WHERE part.n = tx.n) AS have
     FROM tx WHERE n > (SELECT max(n) FROM tx) - ${WINDOW}
   ) WHERE have <> want LIMIT 3`,
  `SELECT 'part ' || n || '.' || k || ' has a wrong body' FROM part
     WHERE body <> ${body("n", "k")} OR h <> ${hash("n", "k")} LIMIT 3`,
  `SELECT 'a part of transaction ' || n || ' is left' FROM part
     WHERE n <= (SELECT max(n) FROM tx) - ${WINDOW} OR n > (SELECT max(n) FROM tx) LIMIT 1`,
  "SELECT 'balances sum to ' || sum(balance) FROM account HAVING sum(balance) <> 0",
  `SELECT 'versions sum to ' || sum(version) FROM account
     HAVING sum(version) <> 2 * (SELECT coalesce(max(n), 0) FROM tx)`,
]
