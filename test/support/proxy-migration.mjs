/**
 * What the second version of the application (proxy-app.mjs) needs, done once: a column, its values, an index.
 *
 *     LITEFS_FUSE_DIR=/litefs node proxy-migration.mjs
 */
import Database from "better-sqlite3"

const db = new Database(`${process.env.LITEFS_FUSE_DIR}/app.db`, {
  fileMustExist: true,
  timeout: 10_000,
})
const migrate = db.transaction(() => {
  if (db.pragma("user_version", { simple: true }) === 2) return "migrated before"
  db.exec(`
    ALTER TABLE items ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE items ADD COLUMN size INTEGER;
    UPDATE items SET size = length(text);
    CREATE INDEX items_of_version ON items (version, size);
  `)
  db.pragma("user_version = 2")
  return "migrated now"
})
console.log(migrate.immediate())
