import { describe, expect, test } from "bun:test"
import { splitCommand } from "../../src/cli/terminal/command-words.ts"

describe("splitCommand()", () => {
  test.each<[string, string[]]>([
    ["node server.js", ["node", "server.js"]],
    ["  a \t b\n c ", ["a", "b", "c"]],
    ["a 'b c' \"d e\"", ["a", "b c", "d e"]],
    ["a 'b'c\"d\"", ["a", "bcd"]],
    ["a '' \"\"", ["a", "", ""]],
    ["a \\'b\\ c \\\\", ["a", "'b c", "\\"]],
    ['a "\\"b\\\\ \\n \\$c"', ["a", '"b\\ \\n $c']],
    ["a '$HOME `x` \"\\'", ["a", '$HOME `x` "\\']],
    ["sh -c 'a | b; c && d > e'", ["sh", "-c", "a | b; c && d > e"]],
    ["a \\\n  b\\\nc", ["a", "bc"]],
    ["a * ? ~ # = % $ 5$", ["a", "*", "?", "~", "#", "=", "%", "$", "5$"]],
    ["a \\; \\| \\$b", ["a", ";", "|", "$b"]],
  ])("%j", (text, words) => {
    expect(splitCommand(text)).toEqual(words)
  })

  test.each([
    ["", "there is no program in it"],
    ["  \n", "there is no program in it"],
    ["'' a", "there is no program in it"],
    ["a 'b", "a ' has no second one"],
    ['a "b\\"', 'a " has no second one'],
    ["a \\", "it ends with a backslash"],
    ...[";", "&", "|", "<", ">", "(", "`"].map((letter) => [
      `a ${letter} b`,
      `${letter} needs a shell, write sh -c '…' around it, or single quotes`,
    ]),
    ["a $HOME/b", "$HOME needs a shell, write sh -c '…' around it, or single quotes"],
    ['a "${B}"', "${B} needs a shell, write sh -c '…' around it, or single quotes"],
    ['a "`b`"', "` needs a shell, write sh -c '…' around it, or single quotes"],
  ])("refuses %j", (text, problem) => {
    expect(() => splitCommand(text as string)).toThrow(new SyntaxError(problem))
  })
})
