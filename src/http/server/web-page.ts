/**
 * Keeps web pages away from the API. A browser sends requests for any page to any address that it reaches, including
 * the loopback of its machine, so a stranger may get around more than the token:
 *
 *   Origin            a script or a form of a page. Nobody else sends it
 *   Sec-Fetch-Site    a page has asked for it, unless it is `none`: the user has typed the address
 *   Host              on a loopback address: a foreign name may be that of a page whose owner has since pointed it
 *                     here (DNS rebinding). The browser then takes page and API for one site
 *
 * One page is ours: the status page. A browser may open it, wherever the link was, as it shows nothing by itself; and it
 * may ask for what it shows. A page of another site cannot do the second: a browser says that it is another's.
 */
import type { IncomingMessage } from "node:http"
import { isIP } from "node:net"
import { LitefsError } from "../../lib/errors.ts"
import { isLoopback } from "../../sys/net/loopback.ts"

type Request = Pick<IncomingMessage, "method" | "url" | "headers" | "rawHeaders" | "socket">

/** What the status page asks for. */
const WATCH_PATH = "/watch"

/** Whether a browser opens the status page: programs do not ask for text/html. */
export function opensPage({ method, url, headers }: Request): boolean {
  if (method !== "GET" || url !== "/") return false
  const isDocument = [undefined, "document"].includes(headers["sec-fetch-dest"] as string)
  const isVisit = [undefined, "navigate"].includes(headers["sec-fetch-mode"])
  return isDocument && isVisit && /(?:^|,)\s*text\/html\s*(?:[,;]|$)/i.test(headers.accept ?? "")
}

/** Whether the status page of this node asks for what it shows. */
function isAskedByPage({ method, url, headers }: Request): boolean {
  return (
    method === "GET" &&
    url?.replace(/\?.*/, "") === WATCH_PATH &&
    headers["sec-fetch-site"] === "same-origin" &&
    headers["sec-fetch-dest"] === "empty"
  )
}

/** Throws when a web page may have sent the request. */
export function refuseWebPage(request: Request, isOwnName: (name: string) => boolean): void {
  const { headers, rawHeaders, socket } = request
  if (headers.origin !== undefined) throw refused("it has an Origin")
  const site = headers["sec-fetch-site"]
  const isForeign = site !== undefined && site !== "none"
  if (isForeign && !opensPage(request) && !isAskedByPage(request)) {
    throw refused("its Sec-Fetch-Site is not none")
  }
  const hosts = rawHeaders.filter((text, index) => index % 2 === 0 && /^host$/i.test(text))
  if (hosts.length > 1) throw new LitefsError("usage", "bad request: there is more than one Host")
  if (!isLoopback(socket.localAddress ?? "")) return
  const name = nameOf(headers.host ?? "")
  if (name === "" || name === "localhost" || isIP(name) !== 0 || isOwnName(name)) return
  const advice = "use its address or localhost, or give it that name with --advertise-url"
  throw refused(`its Host is "${name.slice(0, 255)}", which is not this node's name, ${advice}`)
}

/** In lower case, without the port. */
function nameOf(host: string): string {
  const match = /^(?:\[(?<address>[^\]]*)\]|(?<name>[^:]*))(?::\d*)?$/.exec(host)
  return (match?.groups?.address ?? match?.groups?.name ?? host).toLowerCase()
}

function refused(why: string): LitefsError {
  return new LitefsError("forbidden", `forbidden: a web page may have sent this request, ${why}`)
}
