/** How a request to another node begins. */
import { type ClientRequest, request as httpRequest, type RequestOptions } from "node:http"
import { request as httpsRequest } from "node:https"

/** As for `node:tls`: undefined members are left out. Without `ca` the system's authorities are trusted. */
export interface TlsMaterial {
  readonly cert?: string
  readonly key?: string
  readonly ca?: string
}

/** `tls` counts for an https URL. A simulated network has a function of its own. */
export type NodeRequest = (
  url: URL,
  options: RequestOptions,
  tls: TlsMaterial | undefined,
) => ClientRequest

export const nodeRequest: NodeRequest = (url, options, tls) => {
  if (url.protocol !== "https:") return httpRequest(url, options)
  return httpsRequest(url, { ...tls, ...options })
}
