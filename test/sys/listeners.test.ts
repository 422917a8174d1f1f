/** A process that can open no more files, with connections that wait for it. */
import { afterEach, expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { RawSocket } from "../support/raw-socket.ts"
import { until } from "../support/until.ts"

const PROGRAM = join(import.meta.dir, "../support/short-server.ts")
const REQUEST = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"

const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})

/** Processor time of the process, milliseconds. */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  return (Number(fields[11]) + Number(fields[12])) * 10
}

test.each([[[]], [["spares"]]])(
  "connections that no descriptor is left for cost no time, and are served when there is one: %p",
  async (words) => {
    const command = `ulimit -n 100; exec "$@"`
    const server = Bun.spawn(["bash", "-c", command, "bash", process.execPath, PROGRAM, ...words], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    })
    ends.push(() => server.kill("SIGKILL"))
    let output = ""
    const read = (async () => {
      for await (const part of server.stdout) output += Buffer.from(part).toString()
    })()
    await until("it is full", () => output.includes("full"))
    const [, api, proxy] = /port (\d+) (\d+)/.exec(output) ?? []
    const sockets = [await RawSocket.connect(Number(api)), await RawSocket.connect(Number(proxy))]
    for (const socket of sockets) {
      ends.push(() => socket.destroy())
      socket.write(REQUEST)
    }
    await Bun.sleep(1500) // a look is a second away, at most
    const startMs = cpuMs(server.pid)
    await Bun.sleep(1000)
    expect(cpuMs(server.pid) - startMs).toBeLessThan(100)

    if (words.length === 0) expect(sockets.map(({ text }) => text)).toEqual(["", ""])
    server.stdin.write("\n")
    server.stdin.flush()
    await until("there is room", () => output.includes("room"))
    const late = [await RawSocket.connect(Number(api)), await RawSocket.connect(Number(proxy))]
    for (const socket of late) {
      ends.push(() => socket.destroy())
      socket.write(REQUEST)
    }
    const served = words.length === 0 ? [...sockets, ...late] : late
    await until("all are served", () =>
      served.every(({ text }) => text.endsWith("api") || text.endsWith("proxy")),
    )
    server.kill("SIGKILL")
    await read
    const log = await new Response(server.stderr).text()
    expect(log.match(/no more files can be opened/g)?.length ?? 0).toBeLessThan(5)
  },
  30_000,
)
