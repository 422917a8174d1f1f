import { configureLog } from "../../src/lib/log.ts"

/** What all loggers of this thread write, until it is disposed. */
export class LogLines implements Disposable {
  readonly lines: string[] = []

  constructor() {
    configureLog({ level: "info", format: "plain" }, (line) => this.lines.push(line.trim()))
  }

  get text(): string {
    return this.lines.join("\n")
  }

  [Symbol.dispose](): void {
    configureLog({ level: "error", format: "text" })
  }
}
