import { expect, test } from "bun:test"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { ApiServer } from "../../src/http/server/server.ts"
import { handleImport, type ImportContext, STALL_MS_MAX } from "../../src/http/transfers/import.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { RawSocket } from "../support/raw-socket.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

test("handleImport() waits for the next part of a body, but not for ever", async () => {
  using directory = new TemporaryDirectory()
  const dataDir = new DataDir(join(directory.path, "data"))
  dataDir.create()
  dataDir.createImports()
  const clock = new FakeClock()
  const ended = Promise.withResolvers<unknown>()
  const context: ImportContext = {
    ...{ dataDir, clock, checkWritable: () => {} },
    prepare: async () => {},
    replace: async () => undefined,
  }
  const options = { headers: {}, authToken: undefined, tls: undefined, clock }
  const server = new ApiServer(
    {
      "/import": {
        POST: (request, response, url) =>
          handleImport(context, request, response, url).catch((error) => {
            ended.resolve(error)
            throw error
          }),
      },
    },
    options,
  )
  const port = await server.listen({ host: "127.0.0.1", port: 0 })
  const files = () => readdirSync(join(dataDir.root, "import")).length
  const socket = await RawSocket.connect(port)
  try {
    socket.write(
      "POST /import?name=a.db HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4096\r\n\r\n",
    )
    for (let part = 0; part < 3; part++) {
      socket.write("SQLite")
      await Bun.sleep(100)
      clock.advance(STALL_MS_MAX - 1)
      await Bun.sleep(20)
      expect(files()).toBe(1)
    }
    clock.advance(1)
    expect(String(await ended.promise)).toContain("nothing of the file has come for 60 s")
    expect(files()).toBe(0)
  } finally {
    socket.destroy()
    await server.close()
  }
})
