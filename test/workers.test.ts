import { expect, test } from "bun:test"
import { NodeWorkers } from "../src/workers.ts"

test("NodeWorkers knows of a thread that ends before anybody has asked it for anything", async () => {
  const workers = new NodeWorkers()
  expect(workers.problem).toBeUndefined()
  const closed = Promise.withResolvers<void>()
  workers.fs.addEventListener("close", () => closed.resolve())
  workers.fs.terminate()
  await closed.promise
  expect(workers.problem).toBe("the fs thread has ended")
  workers.peer.terminate()
})
