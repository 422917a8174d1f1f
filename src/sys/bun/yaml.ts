/** Parses YAML into values. Only this file knows Bun's parser, which tells no line numbers. */

/** Throws a SyntaxError. An empty document is null. */
export function parseYaml(text: string): unknown {
  return Bun.YAML.parse(text)
}
