/** The API of a node, for commands that are run next to it. */
import { LitefsError, messageOf } from "../lib/errors.ts"
import { type FlagTable, usageError } from "./argv.ts"

export const API_FLAGS = {
  url: {
    kind: "text",
    placeholder: "URL",
    default: "http://127.0.0.1:20202",
    help: "the API of the node",
  },
  name: { kind: "text", placeholder: "DB", help: "the database; required" },
} as const satisfies FlagTable

/** The URL of a route for the database that --name is. */
export function apiUrl(
  command: string,
  route: string,
  { url, name }: { readonly url: string; readonly name: string | undefined },
): URL {
  if (name === undefined) throw usageError(command, "no --name DB is given")
  const base = URL.canParse(url) ? new URL(url) : undefined
  if (base?.protocol !== "http:" && base?.protocol !== "https:") {
    throw usageError(command, `--url is "${url}", it should be like http://127.0.0.1:20202`)
  }
  const target = new URL(route, base)
  target.searchParams.set("name", name)
  return target
}

/** Answers other than 200 are errors, with the text that the node gives. */
export async function callApi(url: URL, init: RequestInit = {}): Promise<Response> {
  let response: Response
  try {
    response = await fetch(url, init)
  } catch (error) {
    throw new LitefsError(
      "unavailable",
      `Cannot reach LiteFS at ${url.origin}: ${messageOf(error).split(". ")[0]}`,
      { cause: error },
    )
  }
  if (response.status === 200) return response
  const text = (await response.text()).trim().slice(0, 1000)
  throw new LitefsError(
    response.status === 404 ? "not-found" : "unavailable",
    text === "" ? `Cannot use ${url.origin}: it answers with status ${response.status}` : text,
  )
}
