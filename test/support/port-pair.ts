import { type Message, type Offers, Port, type PortOptions } from "../../src/lib/port.ts"

/** Two threads in one, each with its port; messages between them are copied, and come in order, one a microtask. */
export interface PortPair<Left, Right> {
  readonly left: Port<Left, Right>
  readonly right: Port<Right, Left>
  /** What was sent, both ways. */
  readonly sent: readonly Message[]
}

export function portPair<Left, Right>(
  left: Offers<Left>,
  right: Offers<Right>,
  defect?: PortOptions<Left>["defect"],
): PortPair<Left, Right> {
  const sent: Message[] = []
  const to = (receive: (message: Message) => void) => (message: Message) => {
    const copy = structuredClone(message)
    sent.push(copy)
    queueMicrotask(() => receive(copy))
  }
  const pair: PortPair<Left, Right> = {
    left: new Port<Left, Right>({
      send: to((message) => pair.right.receive(message)),
      offers: left,
      ...(defect && { defect }),
    }),
    right: new Port<Right, Left>({
      send: to((message) => pair.left.receive(message)),
      offers: right,
      ...(defect && { defect }),
    }),
    sent,
  }
  return pair
}

/** The port to a thread of which a test needs only some of what it offers. */
export function portTo<Contract>(offers: Partial<Offers<Contract>>): Port<object, Contract> {
  return portPair<object, Contract>({}, offers as Offers<Contract>).left
}
