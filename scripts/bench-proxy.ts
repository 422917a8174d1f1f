/**
 * What the proxy costs. Run it through `scripts/bench-proxy`.
 *
 * The three ways to the application take turns, and the middle one of the rounds counts, so that a machine whose
 * speed changes does not tell a ratio that is none. The application, wrk and the proxy share the cores: the CPU time
 * for a request says what a proxy costs by itself.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { request } from "node:http"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { freePort, Scope } from "../test/support/node.ts"
import { cpuMsOf, memoryOf } from "./benchmark/process.ts"

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "4" },
    rounds: { type: "string", default: "3" },
    connections: { type: "string", default: "32" },
    mib: { type: "string", default: "2048" },
  },
})
const [rounds, mib] = [Number(values.rounds), Number(values.mib)]
const [APP, PROXY, NGINX] = [await freePort(), await freePort(), await freePort()]

const APPLICATION = `
  import { createServer } from "node:http"
  const part = Buffer.alloc(1 << 20)
  createServer(async (request, response) => {
    if (request.url === "/size") {
      let size = 0
      for await (const bytes of request) size += bytes.length
      return response.end(String(size))
    }
    if (request.url !== "/bytes") return response.end("hello world\\n")
    for (let sent = 0; sent < ${mib}; sent++) {
      if (!response.write(part)) await new Promise((wake) => response.once("drain", wake))
    }
    response.end()
  }).listen(${APP}, "127.0.0.1", () => console.log("ready"))
`

await using scope = new Scope()
await start("ready", "node", "--input-type=module", "-e", APPLICATION)
const node = await scope.node({
  flags: [
    ...["--proxy-addr", `127.0.0.1:${PROXY}`],
    ...["--proxy-target", `127.0.0.1:${APP}`, "--proxy-db", "app.db"],
  ],
})
const nginx = await startNginx()
const ways = [
  { name: "direct", port: APP, pid: undefined },
  { name: "litefs", port: PROXY, pid: node.pid },
  { name: "nginx", port: NGINX, pid: nginx },
].map((way) => ({ ...way, results: [] as Result[] }))
for (const { port } of ways) load(port, "1") // to warm up
for (let round = 0; round < rounds; round++) {
  for (const way of ways) {
    const before = way.pid === undefined ? 0 : cpuMsOf(way.pid)
    const result = load(way.port, values.seconds)
    const spentMs = way.pid === undefined ? 0 : cpuMsOf(way.pid) - before
    way.results.push({ ...result, cpuUs: (spentMs * 1000) / result.count })
  }
}
const [direct] = ways.map(({ results }) => middle(results)) as [Result]
console.log("way      requests/s   p99 ms   × direct   CPU µs/request")
for (const { name, results } of ways) {
  const { perSecond, p99Ms, cpuUs } = middle(results)
  const columns = [
    name.padEnd(8),
    perSecond.toFixed(0).padStart(10),
    p99Ms.toFixed(1).padStart(8),
    (perSecond / direct.perSecond).toFixed(2).padStart(10),
    (cpuUs === 0 ? "" : cpuUs.toFixed(1)).padStart(16),
  ]
  console.log(columns.join(" "))
}
await transfers(node.pid)

interface Load {
  readonly perSecond: number
  readonly p99Ms: number
  readonly count: number
}

interface Result extends Load {
  readonly cpuUs: number
}

function load(port: number, seconds: string): Load {
  const args = [
    "-t1",
    `-c${values.connections}`,
    `-d${seconds}`,
    "--latency",
    `http://127.0.0.1:${port}/`,
  ]
  const text = execFileSync("wrk", args, { encoding: "utf8" })
  if (/Non-2xx|Socket errors/.test(text)) throw new Error(`Cannot measure: ${text}`)
  const [, p99 = "", unit = ""] = /99%\s+([\d.]+)(us|ms|s)\b/.exec(text) ?? []
  const scale = { us: 0.001, ms: 1, s: 1000 }[unit] ?? Number.NaN
  return {
    perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]),
    p99Ms: Number(p99) * scale,
    count: Number(/(\d+) requests in/.exec(text)?.[1]),
  }
}

function middle(results: readonly Result[]): Result {
  const sorted = results.toSorted((a, b) => a.perSecond - b.perSecond)
  return sorted[sorted.length >> 1] as Result
}

/** Bytes both ways through the proxy, and how much memory its process has at most meanwhile. */
async function transfers(pid: number): Promise<void> {
  for (const [what, transfer] of [
    ["upload", upload],
    ["download", download],
  ] as const) {
    const before = memoryOf(pid).resident / 2 ** 20
    let most = before
    const timer = setInterval(() => {
      most = Math.max(most, memoryOf(pid).resident / 2 ** 20)
    }, 20)
    const start = performance.now()
    await transfer()
    clearInterval(timer)
    const perSecond = mib / ((performance.now() - start) / 1000)
    console.log(
      `${what} of ${mib} MiB: ${perSecond.toFixed(0)} MiB/s, resident ${before.toFixed(0)} MiB before, ${most.toFixed(0)} MiB at most`,
    )
  }
}

async function upload(): Promise<void> {
  const part = Buffer.alloc(1 << 20)
  const sent = request({ port: PROXY, method: "POST", path: "/size" })
  const answered = new Promise<string>((resolve, reject) => {
    sent.once("response", (response) => response.once("data", (text) => resolve(String(text))))
    sent.once("error", reject)
  })
  for (let count = 0; count < mib; count++) {
    if (!sent.write(part)) await new Promise<void>((wake) => sent.once("drain", () => wake()))
  }
  sent.end()
  if ((await answered) !== String(mib * 2 ** 20))
    throw new Error("Cannot measure: bytes are missing")
}

async function download(): Promise<void> {
  let size = 0
  const response = await fetch(`http://127.0.0.1:${PROXY}/bytes`)
  for await (const bytes of response.body ?? []) size += bytes.length
  if (size !== mib * 2 ** 20) throw new Error("Cannot measure: bytes are missing")
}

async function start(sign: string, program: string, ...args: string[]): Promise<ChildProcess> {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] })
  const exited = new Promise((done) => child.once("exit", done))
  scope.defer(async () => {
    child.kill("SIGTERM")
    await exited
  })
  let log = ""
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (text) => {
      log += text
      if (log.includes(sign)) resolve()
    })
  }
  child.once("exit", () => reject(new Error(log)))
  await promise
  return child
}

/** One worker, as the proxy is one thread. Returns the worker's process. */
async function startNginx(): Promise<number> {
  const path = join(scope.directory, "nginx.conf")
  writeFileSync(
    path,
    `daemon off; worker_processes 1; pid ${scope.directory}/nginx.pid; error_log stderr notice;
    events { worker_connections 1024; }
    http {
      access_log off;
      upstream application { server 127.0.0.1:${APP}; keepalive 128; }
      server {
        listen 127.0.0.1:${NGINX};
        location / {
          proxy_pass http://application;
          proxy_http_version 1.1;
          proxy_set_header Connection "";
          proxy_set_header Host $host;
          proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
          proxy_set_header X-Forwarded-Proto $scheme;
        }
      }
    }`,
  )
  const { pid } = await start("start worker process ", "nginx", "-c", path, "-p", scope.directory)
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
  return Number(children.trim().split(" ")[0])
}
