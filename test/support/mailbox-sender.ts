/** A Worker that sends numbered messages of many sizes to a mailbox. */
import { MailboxSender } from "../../src/sys/mailbox.ts"

export interface Numbered {
  readonly sender: number
  readonly number: number
  readonly text: string
}

declare const self: Worker

self.onmessage = ({ data }: MessageEvent<{ writeFd: number; sender: number; count: number }>) => {
  const mailbox = new MailboxSender<Numbered>(data.writeFd)
  for (let number = 0; number < data.count; number++) {
    mailbox.send({ sender: data.sender, number, text: "ü".repeat((number * 37) % 1900) })
  }
  postMessage("done")
}
