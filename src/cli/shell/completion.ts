/** `litefs completion`: scripts for shells, made of the same tables as the commands themselves. */
import { type ParsedArgs, usageError } from "../terminal/argv.ts"
import { type Command, command } from "../terminal/command.ts"
import { type Flag, placeholderOf } from "../terminal/flags.ts"
import type { CliIo } from "../terminal/io.ts"
import type { DescribedCommand } from "./described.ts"

const SHELLS = { bash, zsh, fish } as const

/** `all` are the commands with what the list says of each. */
export function completionCommand(all: () => Promise<readonly DescribedCommand[]>): Command {
  return command({
    name: "completion",
    flags: {},
    words: { placeholder: "SHELL", countMin: 1, countMax: 1 },
    about: `The completion command will print a script for your shell, which completes the
commands, flags, values, files and databases of litefs.`,
    usage: `litefs completion ${Object.keys(SHELLS).join("|")}`,
    examples: `# bash, for all users
litefs completion bash > /etc/bash_completion.d/litefs

# bash, now
source <(litefs completion bash)

# zsh, in a directory of $fpath
litefs completion zsh > /usr/local/share/zsh/site-functions/_litefs

# fish
litefs completion fish > ~/.config/fish/completions/litefs.fish`,
    run: async ({ words: [shell = ""] }: ParsedArgs<Record<never, never>>, io: CliIo) => {
      if (!Object.hasOwn(SHELLS, shell)) {
        const known = Object.keys(SHELLS).join(", ")
        throw usageError("completion", `"${shell}" is not a shell known here, there are ${known}`)
      }
      io.stdout(SHELLS[shell as keyof typeof SHELLS](wordsOf(await all())))
      return 0
    },
  })
}

type Kind = "file" | "dir" | "database" | "choice" | "any" | "none"

interface FlagForm {
  readonly name: string
  readonly help: string
  readonly kind: Kind
  readonly choices: readonly string[]
}

interface Form {
  /** `mount`, `ltx list`. */
  readonly path: readonly string[]
  readonly about: string
  readonly flags: readonly FlagForm[]
  readonly words: Kind
  /** The commands of a group. */
  readonly children: readonly string[]
  readonly takesCommand: boolean
}

function wordsOf(all: readonly DescribedCommand[]): Form[] {
  return all.flatMap(({ name, about, loaded }) => {
    const children = (loaded.commands ?? []).map((each) => each.name.slice(name.length + 1))
    const own: Form = {
      ...{ path: [name], about, children, takesCommand: loaded.takesCommand === true },
      flags: children.length > 0 ? [] : flagsOf(loaded.flags),
      words: kindOfWords(loaded.words?.placeholder),
    }
    const below = (loaded.commands ?? []).map(
      (each): Form => ({
        ...{
          path: each.name.split(" "),
          about: "",
          children: [],
          takesCommand: each.takesCommand === true,
        },
        flags: flagsOf(each.flags),
        words: kindOfWords(each.words?.placeholder),
      }),
    )
    return [own, ...below]
  })
}

function flagsOf(flags: Readonly<Record<string, Flag>>): FlagForm[] {
  return Object.entries(flags).map(([name, flag]) => ({
    name,
    help: flag.help,
    kind: kindOf(name, flag),
    choices: flag.kind === "choice" ? flag.choices : [],
  }))
}

function kindOf(name: string, flag: Flag): Kind {
  if (flag.kind === "boolean") return "none"
  if (flag.kind === "choice") return "choice"
  const placeholder = placeholderOf(name, flag)
  if (placeholder === "FILE" || placeholder === "PATH") return "file"
  if (placeholder === "DIR") return "dir"
  return placeholder === "DB" || flag.kind === "name" ? "database" : "any"
}

function kindOfWords(placeholder: string | undefined): Kind {
  if (placeholder === undefined) return "none"
  return placeholder === "DB" || placeholder === "DATABASE"
    ? "database"
    : placeholder === "SHELL"
      ? "any"
      : "file"
}

const DIRECTORY = `\${LITEFS_FUSE_DIR:-/litefs}`
const DATABASES = `ls -1 "${DIRECTORY}" 2>/dev/null | grep -v -e "-wal$" -e "-shm$" -e "-journal$"`

function bash(forms: readonly Form[]): string {
  const top = forms.filter(({ path }) => path.length === 1)
  const act = (kind: Kind, choices: readonly string[] = []) =>
    ({
      ...{ file: "_litefs_file", dir: "_litefs_dir", database: "_litefs_database" },
      ...{ choice: `_litefs_words "${choices.join(" ")}"`, any: ":", none: ":" },
    })[kind]
  const cases = forms.map(({ path, flags, children, words }) => {
    const valued = flags.filter(({ kind }) => kind !== "none")
    const values = valued.map(
      ({ name, kind, choices }) => `        --${name}) ${act(kind, choices)}; return ;;`,
    )
    const names = flags.map(({ name }) => `--${name}`).join(" ")
    const rest = children.length > 0 ? act("choice", children) : act(words)
    return [
      `    "${path.join(" ")}")`,
      ...(values.length > 0 ? ["      case $flag in", ...values, "      esac"] : []),
      `      case $cur in -*) _litefs_words "${names}" ;; *) ${rest} ;; esac ;;`,
    ].join("\n")
  })
  const groups = forms.filter(({ children }) => children.length > 0).map(({ path }) => path[0])
  const commands = forms
    .filter(({ takesCommand }) => takesCommand)
    .map(({ path }) => `"${path.join(" ")}"`)
  return `# Completion of litefs for bash: source it, or put it into /etc/bash_completion.d.
_litefs_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur"); }
_litefs_file() { compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); }
_litefs_dir() { compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); }
_litefs_database() {
  local IFS=$'\\n'
  mapfile -t COMPREPLY < <(compgen -W "$(${DATABASES})" -- "$cur")
  [ "\${#COMPREPLY[@]}" -gt 0 ] || _litefs_file
}
_litefs() {
  local cur=\${COMP_WORDS[COMP_CWORD]} flag='' command='' i
  COMPREPLY=()
  # bash takes "--flag=value" apart.
  if [ "$cur" = = ]; then cur='' flag=\${COMP_WORDS[COMP_CWORD - 1]}
  elif [ "\${COMP_WORDS[COMP_CWORD - 1]}" = = ]; then flag=\${COMP_WORDS[COMP_CWORD - 2]}
  else flag=\${COMP_WORDS[COMP_CWORD - 1]}; fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      --) case $command in ${commands.join("|")}) if ((i == COMP_CWORD - 1)); then mapfile -t COMPREPLY < <(compgen -c -- "$cur"); else _litefs_file; fi ;; esac; return ;;
      -*) ;;
      *) case $command in '') command=\${COMP_WORDS[i]} ;; ${groups.join("|")}) command="$command \${COMP_WORDS[i]}" ;; esac ;;
    esac
  done
  case $command in
    '') _litefs_words "${[...top.map(({ path }) => path[0]), "help"].join(" ")}" ;;
    help) _litefs_words "${top.map(({ path }) => path[0]).join(" ")}" ;;
${cases.join("\n")}
  esac
}
complete -F _litefs litefs
`
}

function zsh(forms: readonly Form[]): string {
  const top = forms.filter(({ path }) => path.length === 1)
  const text = (given: string) => given.replace(/[\\[\]:]/g, "\\$&").replaceAll("'", "'\\''")
  const action = (kind: Kind, choices: readonly string[]) =>
    ({
      file: "_files",
      dir: "_files -/",
      database: "_litefs_database",
      choice: `(${choices.join(" ")})`,
      any: " ",
      none: "",
    })[kind]
  const arguments_ = ({ flags, words, takesCommand }: Form) =>
    [
      ...flags.map(({ name, help, kind, choices }) =>
        kind === "none"
          ? `'*--${name}[${text(help)}]'`
          : `'*--${name}=[${text(help)}]:value:${action(kind, choices)}'`,
      ),
      takesCommand
        ? "'*::command:_normal'"
        : words === "none"
          ? ""
          : `'*:word:${action(words, [])}'`,
    ]
      .filter((each) => each !== "")
      .join(" \\\n        ")
  const cases = top.map((form) => {
    const name = form.path[0]
    if (form.children.length === 0) return `    ${name}) _arguments ${arguments_(form)} ;;`
    const below = forms.filter(({ path }) => path[0] === name && path.length > 1)
    return `    ${name})
      if (( CURRENT == 2 )); then _values command ${form.children.join(" ")}; return; fi
      shift words; (( CURRENT-- ))
      case $words[1] in
${below.map((each) => `        ${each.path[1]}) _arguments ${arguments_(each)} ;;`).join("\n")}
      esac ;;`
  })
  return `#compdef litefs
# Completion of litefs for zsh: as _litefs in a directory of $fpath.
_litefs_database() {
  local -a names
  names=(\${(f)"$(${DATABASES})"})
  compadd -a names
  _files
}
_litefs() {
  local -a commands
  commands=(
    ${top.map(({ path, about }) => `'${path[0]}:${text(about)}'`).join("\n    ")}
  )
  if (( CURRENT == 2 )); then _describe command commands; return; fi
  shift words; (( CURRENT-- ))
  case $words[1] in
    help) _describe command commands ;;
${cases.join("\n")}
  esac
}
_litefs "$@"
`
}

function fish(forms: readonly Form[]): string {
  const text = (given: string) => `'${given.replace(/[\\']/g, "\\$&")}'`
  const top = forms.filter(({ path }) => path.length === 1)
  const names = top.map(({ path }) => path[0])
  const lines = top.map(
    ({ path: [name = ""], about }) =>
      `complete -c litefs -n __fish_use_subcommand -a ${name} -d ${text(about)}`,
  )
  for (const { path, flags, words, children } of forms) {
    const seen = path.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ")
    const isFirst =
      children.length > 0 ? `; and not __fish_seen_subcommand_from ${children.join(" ")}` : ""
    const when = `-n ${text(seen + isFirst)}`
    if (children.length > 0) lines.push(`complete -c litefs ${when} -a ${text(children.join(" "))}`)
    if (words === "file") lines.push(`complete -c litefs ${when} -F`)
    if (words === "database") lines.push(`complete -c litefs ${when} -a '(__litefs_databases)'`)
    for (const { name, help, kind, choices } of flags) {
      const value = {
        ...{ file: "-r -F", dir: "-x -a '(__fish_complete_directories)'", any: "-x", none: "" },
        ...{ database: "-x -a '(__litefs_databases)'", choice: `-x -a ${text(choices.join(" "))}` },
      }[kind]
      lines.push(`complete -c litefs ${when} -l ${name} -d ${text(help)} ${value}`.trimEnd())
    }
  }
  return `# Completion of litefs for fish: as litefs.fish in ~/.config/fish/completions.
function __litefs_databases
    set -l dir /litefs
    set -q LITEFS_FUSE_DIR; and set dir $LITEFS_FUSE_DIR
    command ls -1 $dir 2>/dev/null | string match -v -r -- '-(wal|shm|journal)$'
end
complete -c litefs -f
complete -c litefs -n '__fish_seen_subcommand_from help' -a ${text(names.join(" "))}
${lines.join("\n")}
`
}
