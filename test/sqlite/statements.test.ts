import { describe, expect, test } from "bun:test"
import { splitStatements } from "../../src/sqlite/statements.ts"

const TRIGGER = "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; UPDATE a SET b = ';'; END;"

describe("splitStatements()", () => {
  test.each<[string, string[]]>([
    ["", []],
    [" \n-- no; thing\n/* ; */ ; ;", []],
    ["SELECT 1", ["SELECT 1"]],
    ["SELECT 1;SELECT 2 ; SELECT 3", ["SELECT 1;", "SELECT 2 ;", "SELECT 3"]],
    [
      "SELECT ';', \";\", `;`, [;], 'it''s;' ; SELECT 2;",
      ["SELECT ';', \";\", `;`, [;], 'it''s;' ;", "SELECT 2;"],
    ],
    ["SELECT 1 -- ; 'a\n+ 2; /* it's ; */ SELECT 3", ["SELECT 1 -- ; 'a\n+ 2;", "SELECT 3"]],
    ["SELECT 'a;\nb", ["SELECT 'a;\nb"]],
    ["SELECT /* ; ", ["SELECT /* ; "]],
    ["BEGIN; SELECT 1; END; SELECT 2;", ["BEGIN;", "SELECT 1;", "END;", "SELECT 2;"]],
    [`${TRIGGER} SELECT 2`, [TRIGGER, "SELECT 2"]],
    [
      "create temporary trigger t after insert on a begin select case when 1 then 2 end; end;select 2;",
      [
        "create temporary trigger t after insert on a begin select case when 1 then 2 end; end;",
        "select 2;",
      ],
    ],
    [`EXPLAIN QUERY PLAN ${TRIGGER}SELECT 2;`, [`EXPLAIN QUERY PLAN ${TRIGGER}`, "SELECT 2;"]],
    ["CREATE TABLE trigger_end(a); SELECT 2;", ["CREATE TABLE trigger_end(a);", "SELECT 2;"]],
    ["CREATE TABLE t(END); SELECT 2;", ["CREATE TABLE t(END);", "SELECT 2;"]],
    ["SELECT é;SELECT constructor;", ["SELECT é;", "SELECT constructor;"]],
  ])("%j", (sql, statements) => {
    expect(splitStatements(sql).map(({ text }) => text)).toEqual(statements)
  })

  test("tells the line in which each begins", () => {
    const sql = "-- one\nSELECT 1;\n\nSELECT\n2; SELECT 3;\n/*\n*/ ;SELECT 4"
    expect(splitStatements(sql).map(({ line }) => line)).toEqual([2, 4, 5, 7])
  })
})
