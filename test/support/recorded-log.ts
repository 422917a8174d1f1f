import { LOG_LEVELS, type LogFields, type Logger } from "../../src/lib/log.ts"

/** A logger that keeps its lines: "warn: took back transactions …". */
export class RecordedLog {
  readonly lines: string[] = []
  readonly fields: (LogFields | undefined)[] = []
  readonly logger: Logger = Object.fromEntries(
    LOG_LEVELS.map((level) => [
      level,
      (msg: string, fields?: LogFields) => {
        if (level === "trace" || level === "debug") return
        this.lines.push(`${level}: ${msg}`)
        this.fields.push(fields)
      },
    ]),
  ) as Logger
}
