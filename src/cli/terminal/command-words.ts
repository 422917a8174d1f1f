/**
 * Splits a command that is given as one text into words, as in `--exec 'node migrate.js "first one"'`.
 *
 *   'as it is'   "as it is, but \" and \\"   \x is x   blanks and line ends separate
 *
 * There is no shell: an image may have none, and a word that reads well here and means something else there is worse
 * than an error. Syntax that only a shell understands is refused outside quotes, with the way to get a shell. (The
 * original silently drops everything behind a `;` or `|`.)
 */
const OPERATORS = ";&|<>()`"

/** Throws a SyntaxError that says only what is wrong. */
export function splitCommand(text: string): string[] {
  const words: string[] = []
  let word: string | undefined
  for (let index = 0; index < text.length; index++) {
    const letter = text[index] as string
    if (/\s/.test(letter)) {
      if (word !== undefined) words.push(word)
      word = undefined
    } else if (letter === "'" || letter === '"') {
      const quoted = letter === "'" ? singleQuoted(text, index) : doubleQuoted(text, index)
      word = (word ?? "") + quoted.content
      index = quoted.end
    } else if (letter === "\\") {
      index += 1
      if (index === text.length) throw new SyntaxError("it ends with a backslash")
      // As in a shell, an escaped line end joins two lines.
      if (text[index] !== "\n") word = (word ?? "") + text[index]
    } else {
      if (OPERATORS.includes(letter)) throw needsShell(letter)
      checkExpansion(text, index)
      word = (word ?? "") + letter
    }
  }
  if (word !== undefined) words.push(word)
  if (!words[0]) throw new SyntaxError("there is no program in it")
  return words
}

interface Quoted {
  readonly content: string
  /** Offset of the closing quote. */
  readonly end: number
}

function singleQuoted(text: string, start: number): Quoted {
  const end = text.indexOf("'", start + 1)
  if (end < 0) throw new SyntaxError("a ' has no second one")
  return { content: text.slice(start + 1, end), end }
}

function doubleQuoted(text: string, start: number): Quoted {
  let content = ""
  for (let index = start + 1; index < text.length; index++) {
    const letter = text[index] as string
    if (letter === '"') return { content, end: index }
    if (letter === "`") throw needsShell(letter)
    if (letter === "\\" && '"\\$`\n'.includes(text[index + 1] ?? " ")) {
      index += 1
      content += text[index] === "\n" ? "" : text[index]
      continue
    }
    checkExpansion(text, index)
    content += letter
  }
  throw new SyntaxError('a " has no second one')
}

/** `$HOME` would stay unchanged, which nobody means. */
function checkExpansion(text: string, index: number): void {
  const variable = /^\$(?:\w+|\{[^}]*\}?|\()/.exec(text.slice(index))?.[0]
  if (variable !== undefined) throw needsShell(variable)
}

function needsShell(what: string): SyntaxError {
  return new SyntaxError(`${what} needs a shell, write sh -c '…' around it, or single quotes`)
}
