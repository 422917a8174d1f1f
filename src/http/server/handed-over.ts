/** What the runtime's HTTP/1.1 lacks for a connection that it was handed, and did not accept itself. */
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Socket } from "node:net"

const PIECE_SIZE = 32 * 1024

/** The last request of each. */
const requests = new WeakMap<Socket, IncomingMessage>()

/** It reads on and on, whoever reads the body: has it stop until there is room again. */
export function holdBack(request: IncomingMessage, response: ServerResponse): void {
  const { socket } = request
  requests.set(socket, request)
  const push = request.push.bind(request)
  const read = request._read.bind(request)
  request.push = (chunk, encoding) => {
    const takesMore = push(chunk, encoding)
    if (!takesMore && chunk !== null) socket.pause()
    return takesMore
  }
  request._read = (size) => {
    socket.resume()
    read(size)
  }
  response.once("close", () => socket.resume())
}

/** What is written in one turn goes out together: a head and a body, or frames. It does before the socket is destroyed. */
export function joinWrites(socket: Socket): void {
  const write = socket.write.bind(socket) as (...words: unknown[]) => boolean
  const destroy = socket.destroy.bind(socket)
  let isJoining = false
  socket.destroy = (error) => {
    if (isJoining) socket.uncork()
    return destroy(error)
  }
  socket.write = (...words: unknown[]) => {
    if (!isJoining) {
      isJoining = true
      socket.cork()
      process.nextTick(() => {
        isJoining = false
        socket.uncork()
      })
    }
    return write(...words)
  }
}

/**
 * The parser of HTTP/1.1 hands on every request of what it is given, also when the first of them has broken the
 * connection: of thousands that come together it is given few. A body comes as it is: each piece of it would keep the
 * memory of the whole.
 */
export function takeInPieces(socket: Socket): void {
  const push = socket.push.bind(socket)
  socket.push = (chunk: Buffer | null, encoding) => {
    const isOfBody = requests.get(socket)?.complete === false
    if (chunk === null || chunk.length <= PIECE_SIZE || isOfBody) return push(chunk, encoding)
    let takesMore = true
    for (const piece of piecesOf(chunk)) if (!socket.destroyed) takesMore = push(piece)
    return takesMore
  }
}

export function* piecesOf(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += PIECE_SIZE) yield bytes.subarray(at, at + PIECE_SIZE)
}
