/**
 * A program for a process of its own: an API server and a proxy that come to the limit of descriptors, where nothing can
 * give way. It says "port API PROXY", then "full", and at a line of input gives half of them back, and says "room".
 * With the word "spares" it keeps some.
 */
import { closeSync, openSync } from "node:fs"
import { ApiServer } from "../../src/http/server/server.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { logger } from "../../src/lib/log.ts"
import { ConnectionRoom } from "../../src/sys/net/connection-room.ts"
import { TcpListener } from "../../src/sys/net/tcp.ts"
import { keepSpareDescriptors } from "../../src/sys/spare-descriptors.ts"

if (process.argv.includes("spares")) {
  keepSpareDescriptors({ count: 4, leavesOne: true, isUrgent: () => true, onShort() {} })
}
const options = { headers: {}, authToken: undefined, tls: undefined, clock: systemClock }
const api = new ApiServer({ "/": { GET: (_, response) => void response.end("api") } }, options)
const port = await api.listen({ host: "127.0.0.1", port: 0 })
const room = {
  countMax: 100,
  descriptorsLeft: 4,
  takesLast: false,
  sparesBusy: true,
  clock: systemClock,
}
const connections = new ConnectionRoom({ ...room, log: logger("proxy") })
const listener = new TcpListener({ host: "127.0.0.1", port: 0 }, (tcp) => {
  const guest = { idleSinceMs: undefined, giveWay() {} }
  if (!connections.enter(guest, "")) return tcp.destroy()
  tcp.handler = {
    data: () => {
      tcp.write(Buffer.from("proxy"))
      tcp.end()
    },
    drained() {},
    ended: () => tcp.end(),
    closed: () => connections.leave(guest),
  }
})
connections.watch(() => {})
process.stdout.write(`port ${port} ${listener.port}\n`)

const taken: number[] = []
const take = () => {
  try {
    for (;;) taken.push(openSync("/dev/null", "r"))
  } catch {
    // all are taken
  }
}
let timer: NodeJS.Timeout | undefined
process.stdin.on("data", () => {
  clearInterval(timer)
  for (const fd of taken.splice(0, taken.length / 2)) closeSync(fd)
  process.stdout.write("room\n")
})
await Bun.sleep(1500) // until somebody has looked
take()
process.stdout.write("full\n")
timer = setInterval(take, 20) // what becomes free is taken
