/**
 * How the messages of a port (lib/port.ts) get to the fs thread while it serves: as JSON in its mailbox
 * (sys/mailbox.ts). What shares memory goes beside it, through a MessagePort. A note takes its place in the mailbox,
 * whose order holds for both.
 */
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads"
import { must } from "../lib/assert.ts"
import { FAILED, type Message } from "../lib/port.ts"
import type { Fd } from "../sys/file.ts"
import { MailboxReceiver, MailboxSender } from "../sys/mailbox.ts"
import type { FsThread } from "./contract.ts"

const SHARING: ReadonlySet<string> = new Set<keyof FsThread>([
  ...(["inherit", "borrow", "takeBack", "recovered"] as const),
])

const BESIDE: Message = ["beside", 0]

/**
 * Length of an error's text, in characters. The mailbox takes no more, and the text of a problem may have any length.
 */
const TEXT_LENGTH_MAX = 500

export class FsMailboxSender {
  readonly #mailbox: MailboxSender<Message>
  readonly #beside: MessagePort

  constructor(writeFd: Fd, beside: MessagePort) {
    this.#mailbox = new MailboxSender(writeFd)
    this.#beside = beside
  }

  send(message: Message): void {
    const [name] = message
    if (SHARING.has(name)) {
      this.#beside.postMessage(message)
      this.#mailbox.send(BESIDE)
    } else this.#mailbox.send(mailable(message))
  }
}

export class FsMailboxReceiver {
  readonly readFd: Fd
  readonly #mailbox: MailboxReceiver<Message>
  readonly #beside: MessagePort

  constructor(readFd: Fd, beside: MessagePort) {
    this.readFd = readFd
    this.#mailbox = new MailboxReceiver(readFd)
    this.#beside = beside
  }

  /** Hands over every message that has arrived, in order. */
  receive(handle: (message: Message) => void): void {
    this.#mailbox.receive(([name, number, ...given]) => {
      if (name === BESIDE[0]) handle(this.#receiveBeside())
      // JSON turns undefined into null, and no message contains null.
      else handle([name, number, ...given.map((each) => each ?? undefined)])
    })
  }

  #receiveBeside(): Message {
    const sent = must(receiveMessageOnPort(this.#beside), "message beside the mailbox")
    return (sent as { readonly message: Message }).message
  }
}

/** The message, of which the mailbox cannot refuse the text of an error. */
export function mailable(message: Message): Message {
  return message[0] === FAILED ? shortened(message) : message
}

function shortened([name, number, ...given]: Message): Message {
  const cut = (each: unknown) => (typeof each === "string" ? each.slice(0, TEXT_LENGTH_MAX) : each)
  return [name, number, ...given.map(cut)]
}
