/** A node's API as a command sees it: answers as the test says, and remembers what came. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

export interface FakeRequest {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly body: Buffer
}

export class FakeApi implements AsyncDisposable {
  readonly requests: FakeRequest[] = []
  readonly #server: Server
  url = ""

  private constructor(answer: (response: ServerResponse, request: IncomingMessage) => void) {
    this.#server = createServer(async (request, response) => {
      const parts: Buffer[] = []
      for await (const part of request) parts.push(part as Buffer)
      this.requests.push({
        method: request.method,
        url: request.url,
        body: Buffer.concat(parts),
      })
      response.setHeader("Litefs-Id", "0000000000000007")
      answer(response, request)
    })
  }

  static async start(
    answer: (response: ServerResponse, request: IncomingMessage) => void,
    port = 0,
  ): Promise<FakeApi> {
    const api = new FakeApi(answer)
    await new Promise<void>((resolve) => api.#server.listen(port, "127.0.0.1", resolve))
    api.url = `http://127.0.0.1:${(api.#server.address() as AddressInfo).port}`
    return api
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
