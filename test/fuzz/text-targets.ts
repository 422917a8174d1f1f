/** What people write: flags, variables, litefs.yml, and the texts in them. */

import { MOUNT_FLAGS, MOUNT_SYNTAX } from "../../src/cli/settings/mount-flags.ts"
import { mountOptions } from "../../src/cli/settings/mount-options.ts"
import { parseArgs } from "../../src/cli/terminal/argv.ts"
import { splitCommand } from "../../src/cli/terminal/command-words.ts"
import { lackOf } from "../../src/cluster/role/election.ts"
import {
  decodeCandidate,
  decodeHolder,
  decodeLast,
  encodeCandidate,
  encodeHolder,
  encodeLast,
} from "../../src/cluster/role/store-content.ts"
import { parseLeaseUrl } from "../../src/cluster/stores/lease-url.ts"
import { readConfig } from "../../src/config/config-file.ts"
import { formatDuration, parseDuration } from "../../src/lib/duration.ts"
import { parseSize } from "../../src/lib/size.ts"
import { parseLtxFileName } from "../../src/ltx/file-name.ts"
import { formatPos, parsePos, parseTxid } from "../../src/ltx/pos.ts"
import { parseFileName } from "../../src/mount/names/file-name.ts"
import { PathPatterns, pathOf } from "../../src/proxy/path-pattern.ts"
import { databaseNameProblem } from "../../src/wire/database-name.ts"
import { decodeResume, encodeResume } from "../../src/wire/frame.ts"
import { refusesAsSyntax, refusesWith, type Target, textOf, textSeeds } from "./target.ts"

const ENV = { HOSTNAME: "a", PRIMARY: "1", FLY_REGION: "ams" }

/** What a store of a lease has is anybody's who reaches it. */
const storeTexts: Target = {
  name: "store-texts",
  seeds: () => {
    const pos = { txid: 5n, checksum: (1n << 63n) | 1n }
    const record = {
      epoch: 2,
      primary: { id: "00C0FFEE00C0FFEE", hostname: "b", url: "http://b:1" },
    }
    const candidate = { id: "00C0FFEE00C0FFEE", epoch: 1, vacancy: 2, isAble: true }
    const positions = new Map([["a.db", pos]])
    return textSeeds(
      encodeHolder(record, "LFSC0123456789ABCDEF"),
      encodeLast(record, "LFSC0123456789ABCDEF", positions),
      encodeCandidate(candidate, positions),
      "etcd://me:pw@a:2379,b/app?ttl=10s",
      "consul+https://:t@c/app/primary?lock-delay=1s&node=n",
    )
  },
  words: ['"epoch":', '"positions":{', "1e308", '"sum":"', "null", "://", "@", "?ttl=", "%"],
  run(input) {
    const text = textOf(input)
    const last = decodeLast(text)
    const candidate = decodeCandidate(text)
    if (last !== undefined) {
      const { record, cluster = "LFSC0123456789ABCDEF", told } = last
      const again = decodeLast(encodeLast(record, cluster, told.positions))
      if (again === undefined) throw new Error("what is written cannot be read back")
      if (candidate !== undefined) lackOf(candidate, last)
    }
    decodeHolder(text)
    parseLeaseUrl(text)
  },
  refuses: refusesAsSyntax,
}

const config: Target = {
  name: "litefs-yml",
  seeds: () =>
    textSeeds(
      `fuse:\n  dir: "/litefs"\n  allow-other: false\ndata: {dir: /var/lib/litefs, retention: 10m}\n` +
        `lease:\n  type: static\n  candidate: \${FLY_REGION == 'ams'}\n  advertise-url: http://\${HOSTNAME}:20202\n` +
        `exec:\n  - cmd: "node server.js"\n    if-candidate: true\n`,
      `http: {addr: ":20202"}\nproxy:\n  addr: ":8080"\n  target: "localhost:3000"\n  db: app.db\n` +
        `  passthrough: ["*.css", "*.js"]\nlease: {type: static, hostname: a, advertise-url: "http://a:1"}\n`,
      `x: &a [1, 2]\ny: *a\nlease: &l {type: "consul"}\nlog: {debug: true, format: json}\nexec: run\n`,
    ),
  words: [
    "lease:\n",
    "  ",
    "\t",
    "${",
    "}",
    "$A",
    " == 'x'",
    "&a ",
    "*a",
    "<<: *a",
    "[",
    "{",
    "|\n",
    "? ",
    "- ",
    "exec: ",
    "!!str ",
    "---\n",
  ],
  run(input) {
    const flags = MOUNT_FLAGS
    const file = readConfig("litefs.yml", textOf(input), {
      env: ENV,
      isExpanded: true,
      hasRole: () => false,
      flags,
    })
    mountOptions(parseArgs(MOUNT_SYNTAX, [], {}, file.settings))
  },
  refuses: refusesWith("usage"),
}

/** A line for each word; those that are `NAME=value` in capitals are variables. */
const flags: Target = {
  name: "flags",
  seeds: () =>
    textSeeds(
      "--primary\n--fuse-dir=/litefs\n-data-dir\n/data\n--retention\n1h30m\n--retention-max-size=2GiB\n--\nnode\nserver.js",
      "--primary-url\nhttp://10.0.0.1:20202\n--databases\na.db,log-*.db\n--snapshot-rate=50MB/s\n--http-addr=[::1]:1",
      "LITEFS_PRIMARY=1\nLITEFS_HTTP_ADDR=:2\nLITEFS_PEER=http://a:1\n--proxy-addr=:8080\n--proxy-target=localhost:1",
      "--primary\n--proxy-addr=:8080\n--proxy-target=localhost:1\n--proxy-passthrough=*.css\n--exec=node 'a b'",
    ),
  words: Object.keys(MOUNT_FLAGS).flatMap((name) => [`\n--${name}=`, `\n--${name}\n`]),
  run(input) {
    const words = textOf(input).split("\n")
    const isVariable = (word: string) => /^[A-Z_]+=/.test(word)
    const env = Object.fromEntries(
      words
        .filter(isVariable)
        .map((word) => [word.split("=")[0], word.slice(word.indexOf("=") + 1)]),
    )
    mountOptions(
      parseArgs(
        MOUNT_SYNTAX,
        words.filter((word) => !isVariable(word)),
        env,
      ),
    )
  },
  refuses: refusesWith("usage", "name-invalid", "not-found", "unavailable"),
}

const command: Target = {
  name: "command",
  seeds: () =>
    textSeeds(`node server.js --name 'a b' "c \\" d" e\\ f`, "sh -c 'exec $HOME'", '"\\$HOME"'),
  words: ["'", '"', "\\", "$HOME", "${A}", "$(", "\n", ";", "`"],
  run(input) {
    const words = splitCommand(textOf(input))
    if (words[0] === undefined || words[0] === "") throw new Error("there is no program")
  },
  refuses: refusesAsSyntax,
}

/** A number that is read and written is the same number. */
const numbers: Target = {
  name: "durations-and-sizes",
  seeds: () =>
    textSeeds(
      "1h30m",
      "250ms",
      "1.5s",
      "0",
      "-10m",
      "5µs",
      "1.5GiB",
      "500MB",
      "4096",
      "50 MB",
      ".5h",
    ),
  words: ["h", "m", "ms", "µs", "GiB", ".", "-", "9999999999999999", "1e9", " "],
  run(input) {
    const text = textOf(input)
    const size = parseSize(text)
    if (size !== undefined && !(Number.isSafeInteger(size) && size >= 0))
      throw new Error(`it is ${size} bytes`)
    const ms = parseDuration(text)
    if (Number.isNaN(ms)) throw new Error("it is no number")
    if (Math.abs(ms) > 1e12 || (ms !== 0 && Math.abs(ms) < 1e-6)) return // years, and below a nanosecond
    const again = parseDuration(formatDuration(ms))
    if (Math.abs(again - ms) > 1e-5) throw new Error(`${ms} ms come back as ${again}`)
  },
  refuses: refusesAsSyntax,
}

const names: Target = {
  name: "names-and-positions",
  seeds: () =>
    textSeeds(
      "app.db-journal",
      "app.db-mj01234567A",
      "0000000000000001-000000000000000f.ltx",
      "0000000000000012/9c1e5a2b7f3d4c61",
      `${"0".repeat(15)}1/4096/app.db`,
      "/build/app.css?x=/y",
    ),
  words: ["-wal", "-pos", ".primary", "/", "%2e%2e%2f", "%", "\0", "..", "*", "x".repeat(255)],
  run(input) {
    const text = textOf(input)
    parseFileName(text)
    parseTxid(text)
    if (databaseNameProblem(text) === undefined && /\/|\0/.test(text))
      throw new Error("it leads elsewhere")
    const range = parseLtxFileName(text)
    if (range !== undefined && range.minTxid > range.maxTxid)
      throw new Error("it ends before it starts")
    const pos = parsePos(text)
    if (pos !== undefined && formatPos(pos) !== text.toLowerCase()) throw new Error(formatPos(pos))
    const resume = decodeResume(text)
    if (resume !== undefined && !Bun.deepEquals(decodeResume(encodeResume(resume)), resume)) {
      throw new Error(encodeResume(resume))
    }
    new PathPatterns([text, `${text}*`, "/a*b*c*d"]).matches(pathOf(text))
  },
}

export const TEXT_TARGETS: readonly Target[] = [config, flags, command, numbers, names, storeTexts]
