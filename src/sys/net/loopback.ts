/**
 * Whether a host, as a user or the kernel writes it, is this machine to itself: `localhost`, 127.0.0.0/8 and ::1, also
 * an IPv4 address written as IPv6 (::ffff:127.0.0.1).
 */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase()
  if (name === "localhost" || /^127(?:\.\d{1,3}){3}$/.test(name)) return true
  const url = `http://${name.startsWith("[") ? name : `[${name}]`}/`
  if (!URL.canParse(url)) return false
  const { hostname } = new URL(url) // an address has many spellings; URL turns them into one
  return hostname === "[::1]" || /^\[::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4}\]$/.test(hostname)
}
