/** A node that only tells what it is, with its status page. It asks for the token, and its clock stands still. */
import type { NodeAnswer } from "../../src/cluster/node-client.ts"
import { answerDocument } from "../../src/http/page/document.ts"
import { StatusPage } from "../../src/http/page/status-page.ts"
import { ApiServer } from "../../src/http/server/server.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { RawSocket } from "./raw-socket.ts"
import { StatusNode } from "./status-node.ts"

export const TOKEN = "t0ken-of-the-test"

export class PageNode implements AsyncDisposable {
  readonly node: StatusNode
  readonly page: StatusPage
  readonly server: ApiServer
  divergedCount = 0
  lookCount = 0
  askCount = 0
  /** How the primary of this node answers `GET /nodes`. */
  answer: () => Promise<NodeAnswer> = async () => ({ status: 404, headers: {}, text: "" })
  port = 0

  private constructor(node: StatusNode) {
    this.node = node
    this.page = new StatusPage({
      ...{ status: node.api.status, positions: node.positions, clock: node.clock },
      divergedCount: () => {
        this.lookCount += 1
        return this.divergedCount
      },
      askPrimary: () => {
        this.askCount += 1
        return this.answer()
      },
    })
    this.server = new ApiServer(
      { ...node.api.routes, ...this.page.routes },
      {
        ...{ headers: {}, authToken: TOKEN, tls: undefined, clock: systemClock },
        answerPage: answerDocument,
      },
    )
  }

  static async start(role: "primary" | "replica" = "primary"): Promise<PageNode> {
    const page = new PageNode(await StatusNode.start(role))
    page.port = await page.server.listen({ host: "127.0.0.1", port: 0 })
    return page
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  async ask(line: string, ...fields: string[]): Promise<string> {
    const socket = await RawSocket.connect(this.port)
    socket.write([`${line} HTTP/1.1`, "Host: localhost", ...fields, "", ""].join("\r\n"))
    const answer = await socket.until("\r\n\r\n")
    socket.destroy()
    return answer
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.page.close()
    await this.server.close()
    await this.node[Symbol.asyncDispose]()
  }
}
