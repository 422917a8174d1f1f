/**
 * Where SQLite's own tests see something else on a mount than on a plain directory, and why that is so. What is not here
 * is a mistake of ours, or nobody has looked at it.
 */
import type { Difference } from "./report.ts"

export interface Argument {
  readonly why: string
  /** By the file of tests, or the program: the names of tests that it is the reason for. */
  readonly tests: Readonly<Record<string, RegExp>>
}

const ALL = /./

/** The first words of why the whole file could not go on. */
function endsEarly(why: string): RegExp {
  return new RegExp(`^\\(ended early: ${why}`)
}

export const ARGUED: readonly Argument[] = [
  {
    why: "the test writes into a database past SQLite, which is refused: nobody could tell a transaction from it",
    tests: {
      "alter2.test": ALL,
      "bigfile.test": /^\(count\)$/,
      "bigfile2.test": /^\(count\)$/,
      "capi3.test": /-7\.2$/,
      "capi3c.test": /-7\.2$/,
      "corrupt2.test": ALL,
      "corrupt3.test": /-1\.(8|9|1[0-2])$/,
      "corrupt4.test": ALL,
      "corrupt6.test": /-1\.(8|9|10)\./,
      "corrupt7.test": /-2\.[12]$/,
      "corrupt8.test": /-2\./,
      "corrupt9.test": /-[234]\.[12]$/,
      "corruptA.test": /-2\./,
      "corruptB.test": /-[123]\.\d\.2$/,
      "corruptD.test": /-1\.1\.[12]$/,
      "corruptE.test": /-[23]\./,
      "corruptF.test": /-[12]\.6$/,
      "corruptG.test": /-(1\.[234]|2\.1)$/,
      "corruptH.test": /-[123]\.3$/,
      "corruptI.test": /-(1\.3|2\.[12]|3\.3|5\.3|8\.[12])$/,
      "corruptJ.test": /-(1\.2|2\.2b)$/,
      "corruptK.test": /-(2\.3|1\.2|2\.2)$/,
      "corruptL.test": /-17\.[12]$/,
      "descidx2.test": /-2\./,
      "exclusive2.test": /-(1\.(7|9|10)|2\.[458])$/,
      "filefmt.test": /-1\.[3678]$/,
      "incrblob3.test": /-7\.2$/,
      "nan.test": /-3\.[3-6]$/,
      "pager1.test": /-(18\.(3\.[24]|4|6)|38\.1)$/,
      "pragma.test": /-(1\.15\.4|3\.\d+[ab]?|2[24]\..*)$/,
      "rdonly.test": /-1\.(3\.1|4|5|6)$/,
      "recoverpgsz.test": endsEarly("not owner"),
      "threadtest3 walthread5": /errors\)$|^\(ended: exit code 255\)$/,
      "superlock.test": endsEarly("couldn't open"),
    },
  },
  {
    why: "journal modes MEMORY and OFF leave nothing to tell the commit of a transaction by: its first write is refused",
    tests: {
      "jrnlmode.test": /-(3\.2|4\.[34]|6\.7|7\.[12]|8\.([234]|11))$/,
      "jrnlmode3.test": /-[123]\./,
      "memjournal.test": /-1\.[012]$/,
      "memjournal2.test": /-1\./,
      "pager1.test": /-(4\.4\.[12]\.m1\..*|5\.[235]\.1|14\.1\.\d)$/,
      "pager2.test": /^pager2-1\.2\.0$|^\(ended early/,
      "recover1.test": /-15\.1$/,
      "savepoint.test": /-13\.[234]$/,
      "wal.test": /-25\.(OFF|MEMORY)$/,
      "wal6.test": /-1\.[123]\.(memory|off)$/,
      "walmode.test": /-6\.[12]$/,
    },
  },
  {
    why: "a mount has no directories and no links in it, and its files are not renamed",
    tests: {
      "backup2.test": /-1[01]$/,
      "delete_db.test": /-3\.0$/,
      "lock5.test": /-dotfile\./, // the lock is a directory
      "misc1.test": /-14\.(1|2b|3)$/,
      "misc7.test": ALL,
      "oserror.test": /-[12]\.\d\.[12]$/,
      "pager1.test": /-33\.[12]$/,
      "pager4.test": endsEarly("error renaming"),
      "quota2.test": endsEarly("can't create directory"),
      "symlink.test": ALL,
      "walro.test": endsEarly("can't create directory"),
      "zipfile2.test": /-2\.0$/,
    },
  },
  {
    why: "every file of a mount is a database, or belongs to one: parts, texts, archives and backups of others do not",
    tests: {
      "backup2.test": /-7$/,
      "delete_db.test": /-1\.[34]\.0$/,
      "incrvacuum.test": ALL,
      "journal1.test": /-1\.2$/,
      "misc5.test": ALL,
      "multiplex.test": ALL,
      "multiplex2.test": endsEarly(""),
      "multiplex4.test": /-1\.(0|10)$/,
      "pragma3.test": /-(201|4\d0)$/,
      "quota.test": /-(4\.5\.[34568]|5\.4\.1)$/,
      "syscall.test": /-7\.[123]$/,
      "zipfile.test": ALL,
      "zipfile2.test": /-6\.[123]$/,
    },
  },
  {
    why: "what is copied is a database in the midst of a transaction, which cannot be imported",
    tests: {
      "crash8.test": /-5\.\d\.2$/,
      "interrupt2.test": endsEarly("ERROR: Cannot import"),
      "journal2.test": endsEarly("ERROR: Cannot import"),
      "pager1.test": /-31\.1$/,
    },
  },
  {
    why: "a WAL without its database, or of another, or with noise for page 1, is put in its place past SQLite",
    tests: { "wal.test": /-18\.2\.\d+\.\d\.[45]$/, "wal4.test": /^\(count\)$/ },
  },
  {
    why: "page 1 is made noise: a database that is none after the transaction is refused",
    tests: { "resetdb.test": /-(20[01]|3[23]0)$/ },
  },
]

/** Why the difference is as it should be, if somebody has argued that. */
export function argumentFor(
  subject: string,
  { name }: Difference,
  argued: readonly Argument[] = ARGUED,
): Argument | undefined {
  return argued.find(({ tests }) => tests[subject]?.test(name) === true)
}
