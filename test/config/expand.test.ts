import { describe, expect, test } from "bun:test"
import { expandVariables } from "../../src/config/expand.ts"

const ENV = { REGION: "ams", PRIMARY: "ams", OTHER: "iad", EMPTY: "" }

describe("expandVariables()", () => {
  test.each([
    ["a: $REGION", "a: ams"],
    ["a: ${REGION}b", "a: amsb"],
    ["a: ${ REGION }", "a: ams"],
    ["a: $REGION.$OTHER", "a: ams.iad"],
    ["a: $NONE-${NONE}${EMPTY}.", "a: -."],
    ["a: ${REGION == 'ams'}", "a: true"],
    ['a: ${ REGION != "ams" }', "a: false"],
    ["a: ${REGION == PRIMARY}", "a: true"],
    ["a: ${REGION==OTHER}", "a: false"],
    ["a: ${NONE == ''}", "a: true"],
    ["# $REGION", "# ams"],
    ["a: $$ $1x $* $# $@ $! $? $- b", "a:  x       b"],
    ["a: 5$ $. $", "a: 5$ $. $"],
  ])("%j is %j", (text, expected) => {
    expect(expandVariables(text, ENV).text).toBe(expected)
  })

  test.each<[string, string[]]>([
    ["a: $REGION # $OTHER", ["REGION"]],
    ["# $REGION\na: ${OTHER}", ["OTHER"]],
    ["a: '#' # $REGION", []],
    ["a: 'x # y $REGION'", ["REGION"]],
    ["a: b#$REGION", ["REGION"]],
    ["a: ${REGION == OTHER}\nb: $NONE$$", ["OTHER", "REGION", "NONE"]],
    ["a: ${REGION == 'OTHER'}", ["REGION"]],
  ])("%j refers to %j", (text, names) => {
    expect([...expandVariables(text, ENV).names]).toEqual(names)
  })

  test.each<[string, string[]]>([
    ["a: $NONE ${OTHER} ${ NO_OTHER } $EMPTY", ["NONE", "NO_OTHER"]],
    ["# $NONE\na: ${NONE == 'x'} ${REGION != NONE} $$ $1", []],
  ])("%j lacks %j", (text, names) => {
    expect([...expandVariables(text, ENV).unset]).toEqual(names)
  })

  test("takes no longer for a variable at the end of a long line", () => {
    const text = `a: "${"$REGION".repeat(100_000)}" # $OTHER`
    const { text: expanded, names } = expandVariables(text, ENV)
    expect(expanded.length).toBe(100_000 * 3 + 11)
    expect([...names]).toEqual(["REGION"])
  })

  test("shows the beginning of what it refuses", () => {
    expect(() => expandVariables(`a: \${${"x ".repeat(1000)}}`, ENV)).toThrow(
      /^line 1: ".{200}…" should/,
    )
  })

  test.each([
    ["a: 1\nb: ${REGION:-x}", 'line 2: "${REGION:-x}"'],
    ["a: ${}", 'line 1: "${}"'],
    ["a: ${REGION\nb: 2", 'line 1: "${REGION"'],
    ["a: ${REGION = 'ams'}", "line 1: \"${REGION = 'ams'}\""],
  ])("refuses %j", (text, problem) => {
    expect(() => expandVariables(text, ENV)).toThrow(
      `${problem} should be \${NAME}, \${NAME == 'text'} or \${NAME != OTHER}`,
    )
  })
})
