import { expect, test } from "bun:test"
import { withoutPaths } from "../../src/lib/errors.ts"

test.each([
  [
    'Cannot open "/var/lib/litefs/dbs/a.db/ltx/1-1.ltx": it is gone',
    'Cannot open "1-1.ltx": it is gone',
  ],
  ["ENOENT: no such file, open '/a/b c/d'", "ENOENT: no such file, open 'd'"],
  ['the disk of "/data/" is full', 'the disk of "data" is full'],
  [
    "it belongs to cluster X, see /data/clusterid; then",
    "it belongs to cluster X, see clusterid; then",
  ],
  ["Cannot serve /export: there are 16", "Cannot serve /export: there are 16"],
  ['Cannot use "a/b" as a name: it contains "/"', 'Cannot use "a/b" as a name: it contains "/"'],
  ["see http://10.0.0.1:20202/info", "see http://10.0.0.1:20202/info"],
  ['both "/a/b" and "/c/d" are', 'both "b" and "d" are'],
])("withoutPaths(%p) is %p", (text, expected) => {
  expect(withoutPaths(text)).toBe(expected)
})
