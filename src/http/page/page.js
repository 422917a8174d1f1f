/**
 * The status page in a browser. It asks `GET /watch` of the node that it comes from (watch-feed.ts says what comes),
 * with the token in a header, and shows what it is told.
 *
 * Names of nodes and databases, and what a log says, may be made up by anybody: they become text, never markup, and of
 * an address only http and https become a link.
 */

const TOKEN_KEY = "litefs-token"
/** A node that is busy may be late. */
const SILENT_MS_MAX = 40_000
const RETRY_MS_MAX = 10_000
const TYPING_MS = 300
const SPAN_MS = 5 * 60_000
/** Samples further apart than this have nothing between them. */
const GAP_MS = 20_000
const EVENT_COUNT = 60
const MARKS = { ok: "✓", note: "→", wait: "…", warn: "!", bad: "✕", error: "✕", info: "·" }
const COLORS = { ok: "#1a7f45", wait: "#2a6fc9", warn: "#c77700", bad: "#c9342b" }

const $ = (id) => document.getElementById(id)

let token = sessionStorage.getItem(TOKEN_KEY)
let known // the last picture with all changes since
let heard = { wallMs: 0, atMs: 0 } // the clock of the node, and ours at that time
let lost // since when the node does not answer, and why
let attempt = new AbortController()
let retries = 0

// --- the stream ---

async function watch() {
  attempt.abort()
  attempt = new AbortController()
  const { signal } = attempt
  const { problem, mayPass } = await stream(signal).catch((error) => {
    return { problem: `no connection (${error.message})`, mayPass: true }
  })
  if (signal.aborted || !mayPass) return
  lost ??= { sinceMs: Date.now() }
  lost.problem = problem
  render()
  retries += 1
  setTimeout(() => signal.aborted || void watch(), Math.min(500 * 2 ** retries, RETRY_MS_MAX))
}

/** Resolves when it ends, with why. */
async function stream(signal) {
  const silence = new AbortController()
  let timer
  const listen = () => {
    clearTimeout(timer)
    timer = setTimeout(() => silence.abort(new Error("it is silent")), SILENT_MS_MAX)
  }
  listen()
  try {
    const query = $("filter").value === "" ? "" : `?filter=${encodeURIComponent($("filter").value)}`
    const response = await fetch(`/watch${query}`, {
      headers: {
        Accept: "text/event-stream",
        ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
      },
      ...{ mode: "same-origin", credentials: "omit", cache: "no-store", redirect: "error" },
      signal: AbortSignal.any([signal, silence.signal]),
    })
    if (response.status === 401) return askForToken()
    if (!response.ok) return { problem: (await response.text()).trim(), mayPass: true }
    let rest = ""
    const decoder = new TextDecoder()
    const reader = response.body.getReader()
    for (;;) {
      const { value, done } = await reader.read()
      if (done) return { problem: "the node has ended the connection", mayPass: true }
      listen()
      const parts = (rest + decoder.decode(value, { stream: true })).split("\n\n")
      rest = parts.pop()
      for (const part of parts) take(part)
    }
  } finally {
    clearTimeout(timer)
  }
}

function take(text) {
  const [, name, data] = /^event: (\w+)\ndata: (.*)$/s.exec(text) ?? []
  if (name === undefined) return
  const news = JSON.parse(data)
  if (name === "picture") known = { rows: new Map(), events: new Map(), samples: [] }
  for (const key of ["node", "nodes", "matchingCount"]) known[key] = news[key] ?? known[key]
  for (const row of news.rows ?? []) known.rows.set(row.name, row)
  for (const gone of news.gone ?? []) known.rows.delete(gone)
  for (const event of news.events ?? []) known.events.set(event.id, event)
  for (const id of [...known.events.keys()].slice(0, -2 * EVENT_COUNT)) known.events.delete(id)
  known.samples = [...known.samples, ...(news.samples ?? [])].filter(
    ({ wallMs }) => wallMs > news.wallMs - SPAN_MS,
  )
  heard = { wallMs: news.wallMs, atMs: Date.now() }
  lost = undefined
  retries = 0
  render()
}

// --- the token ---

function askForToken() {
  $("refusal").textContent = token === null ? "" : "This node has another token."
  forgetToken()
  return { mayPass: false }
}

function forgetToken() {
  token = null
  known = undefined
  sessionStorage.removeItem(TOKEN_KEY)
  $("page").hidden = true
  $("door").hidden = false
  $("enter").disabled = false
  document.title = "LiteFS"
  for (const id of ["rows", "nodes", "events", "plots", "steps", "others"]) $(id).replaceChildren()
  $("token").focus()
}

$("door").addEventListener("submit", (event) => {
  event.preventDefault()
  token = $("token").value.trim()
  $("token").value = ""
  $("enter").disabled = true
  $("refusal").textContent = ""
  sessionStorage.setItem(TOKEN_KEY, token)
  void watch()
})

$("forget").addEventListener("click", () => {
  attempt.abort()
  $("refusal").textContent = ""
  forgetToken()
})

let typing
$("filter").addEventListener("input", () => {
  clearTimeout(typing)
  typing = setTimeout(() => void watch(), TYPING_MS)
})

// --- the page ---

let isDrawing = false
/** Also in a tab that is not looked at: its title and its icon say how it is. */
function render() {
  if (isDrawing) return
  isDrawing = true
  queueMicrotask(() => {
    isDrawing = false
    draw()
  })
}

function draw() {
  if (known === undefined) {
    // Nothing has come yet, nor will.
    if (lost === undefined || !$("door").hidden) return
    $("page").hidden = false
    drawVerdict([unanswered()])
    return
  }
  const { node } = known
  $("door").hidden = true
  $("page").hidden = false
  $("page").classList.toggle("stale", lost !== undefined)
  $("forget").hidden = token === null
  text("hostname", node.hostname)
  text("role", node.role)
  $("role").className = `badge ${node.role}`
  const up = `up ${span(now() - node.startedMs)}`
  text("facts", node.clusterId === null ? up : `${up}, cluster ${node.clusterId}`)
  text("about", `LiteFS ${node.version}, mounted at ${node.mount}, node ${node.id}`)
  drawVerdict(lost === undefined ? node.findings : [unanswered()])
  drawNodes()
  drawDatabases()
  drawPlots()
  drawEvents()
  drawLive()
}

function unanswered() {
  const since = new Date(lost.sinceMs).toLocaleTimeString()
  const who = known === undefined ? "This node" : `"${known.node.hostname}"`
  const then = known === undefined ? "" : "; what is below is as it was then"
  return {
    level: "bad",
    text: `${who} does not answer, since ${since}`,
    cause: `${lost.problem}${then}`,
    steps: [{ why: "On its machine", command: "litefs info" }],
  }
}

function drawVerdict(findings) {
  const isWell = (findings[0]?.level ?? "note") === "note"
  const first = isWell ? { level: "ok", text: wellness() } : findings[0]
  const others = isWell ? findings : findings.slice(1)
  $("verdict").className = first.level
  text("mark", MARKS[first.level])
  text("words", `${first.text}.`)
  text("cause", first.cause ?? "")
  list("steps", first.steps ?? [], stepItem)
  list("others", others, (finding) =>
    el("li", {}, [
      dot(finding.level),
      `${finding.text}${finding.cause ? `: ${finding.cause}` : "."}`,
      el("ul", { class: "steps" }, (finding.steps ?? []).map(stepItem)),
    ]),
  )
  const title = `${MARKS[first.level]} ${known?.node.hostname ?? "LiteFS"}`
  if (document.title !== title) document.title = title
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${COLORS[first.level]}"/></svg>`
  const icon = `data:image/svg+xml,${encodeURIComponent(svg)}`
  if ($("icon").getAttribute("href") !== icon) $("icon").setAttribute("href", icon)
}

function wellness() {
  const { node, nodes } = known
  if (node.role === "replica") {
    const primary = nodes.find(({ role }) => role === "primary")
    const { hostname } = primary ?? {}
    if (node.lagMs > 0)
      return `This replica follows its primary "${hostname}", ${span(node.lagMs)} behind`
    return `All is well: this replica has everything that its primary "${hostname}" has`
  }
  const count = nodes.length - 1
  if (count === 0) return "All is well: this node is the primary, and no replica is connected"
  const them = count === 1 ? "its replica follows" : `its ${count} replicas follow`
  return `All is well: this node is the primary, and ${them}`
}

function stepItem({ why, command }) {
  return el("li", {}, [`${why}:`, el("code", {}, [command])])
}

function drawNodes() {
  const { node, nodes } = known
  list("nodes", nodes, nodeItem)
  $("beyond").hidden = node.knowsReplicas !== false
}

function nodeItem(node) {
  const { hostname, role, isThis, url, databases } = node
  const [level, state] = stateOf(node)
  const times = timesOf(node)
  const facts = [times, databases === null ? "" : counted(databases, "database")].filter(Boolean)
  const isLink = !isThis && url !== null && /^https?:\/\//.test(url)
  return el("li", { class: isThis ? "this" : "other" }, [
    el("p", { class: "name" }, [
      el("span", {}, [hostname || "unknown"]),
      el("span", { class: `badge ${role}` }, [role]),
    ]),
    el("p", {}, [dot(level), state]),
    el("p", { class: "quiet" }, [facts.join(", ")]),
    ...(isLink ? [el("p", { class: "quiet" }, [el("a", { href: url }, [url])])] : []),
  ])
}

function timesOf({ isThis, isConnected, sinceMs, asOfMs }) {
  if (asOfMs !== null) return `as the primary said ${span(now() - asOfMs)} ago`
  if (sinceMs === null) return ""
  const time = span(now() - sinceMs)
  if (isThis) return `this node, up ${time}`
  return isConnected ? `connected for ${time}` : `last seen ${time} ago`
}

function stateOf(node) {
  const { role, isThis, isConnected, silentMs, asOfMs, lagMs, transactions, leftOutCount } = node
  if (asOfMs !== null) return ["info", isConnected ? "was connected" : "was not connected"]
  if (!isConnected) return ["bad", "not connected"]
  if (typeof silentMs === "number") return ["warn", `silent for ${span(silentMs)}`]
  const rest = leftOutCount > 0 ? `${counted(leftOutCount, "database")} left out` : undefined
  if (isThis && role === "replica") {
    const how = lagMs === 0 && !transactions ? "" : `, ${behind(lagMs, transactions)}`
    if (!known.node.isConnected) return ["bad", `not connected${how}`]
    const isBehind = lagMs === null || lagMs > 10_000
    return [rest ? "bad" : isBehind ? "warn" : "ok", rest ?? behind(lagMs, transactions)]
  }
  if (role === "primary") {
    const state = !isThis ? "connected" : known.node.isReady ? "takes writes" : "is starting"
    return [rest ? "bad" : "ok", rest ?? state]
  }
  return [rest || transactions > 1000 ? "warn" : "ok", rest ?? behind(0, transactions)]
}

function behind(lagMs, transactions) {
  if (lagMs === null) return "not in sync yet"
  const parts = []
  if (lagMs > 0) parts.push(`${span(lagMs)} behind`)
  if (transactions > 0) parts.push(`${counted(transactions, "transaction")} missing`)
  return parts.length === 0 ? "has everything" : parts.join(", ")
}

const URGENCY = { "left-out": 3, arriving: 2 }
/** More would bury what comes below. */
const FEW_ROWS = 25
let showsAll = false

$("all").addEventListener("click", () => {
  showsAll = true
  render()
})

/** The rows as they were drawn last, by name. */
const drawnRows = new Map()

function drawDatabases() {
  const { node, rows, matchingCount } = known
  const urgency = ({ state, lagMs, transactions }) =>
    URGENCY[state] ?? (lagMs === null || lagMs > 10_000 || transactions > 1000 ? 1 : 0)
  const sorted = [...rows.values()].sort(
    (a, b) => urgency(b) - urgency(a) || b.size - a.size || (a.name < b.name ? -1 : 1),
  )
  const isFiltered = $("filter").value !== ""
  const all = `${number(node.databases)}, ${size(node.size)}`
  const some = `${number(rows.size)} of ${number(isFiltered ? matchingCount : node.databases)}`
  const isCut = rows.size < matchingCount
  const which = ": those with a problem, those behind, then the largest"
  const matching = isFiltered ? `${number(matchingCount)} of ${number(node.databases)}` : all
  text("count", isCut ? `${some}${which}` : matching)
  const shown = showsAll || sorted.length <= FEW_ROWS ? sorted : sorted.slice(0, FEW_ROWS)
  $("all").hidden = shown.length === sorted.length
  text("all", `Show ${number(sorted.length - shown.length)} more`)
  const body = $("rows")
  const names = new Set(shown.map(({ name }) => name))
  for (const [name, drawn] of drawnRows) {
    if (names.has(name) && drawn.row.parentNode === body) continue
    drawn.row.remove()
    drawnRows.delete(name)
  }
  for (const [index, row] of shown.entries()) {
    const drawn = drawnRows.get(row.name) ?? newRow(row)
    fillRow(drawn, row)
    if (body.children[index] !== drawn.row) body.insertBefore(drawn.row, body.children[index])
  }
  $("none").hidden = rows.size > 0
  const none = isFiltered ? "No database has this in its name." : "There is no database yet."
  text("none", none)
}

function newRow({ name }) {
  const cells = {
    name: el("td", { class: "name" }, [name]),
    state: el("td", { class: "state" }),
    position: el("td", { class: "position" }),
    size: el("td", { class: "number size" }),
    changed: el("td", { class: "number changed quiet" }),
  }
  const drawn = { row: el("tr", {}, Object.values(cells)), cells, shown: "" }
  drawnRows.set(name, drawn)
  return drawn
}

function fillRow(drawn, row) {
  const { cells } = drawn
  const changed = row.changedMs === null ? "never" : `${span(now() - row.changedMs)} ago`
  if (cells.changed.textContent !== changed) cells.changed.textContent = changed
  const shown = JSON.stringify([row, known.node.role])
  if (shown === drawn.shown) return
  drawn.shown = shown
  const [txid, checksum] = row.position.split("/")
  const [level, state] = rowState(row, txid)
  cells.state.replaceChildren(dot(level), state)
  if (row.problem !== null) cells.state.append(el("span", { class: "why" }, [row.problem]))
  const zeros = /^0*/.exec(txid)[0]
  cells.position.replaceChildren(
    el("span", { class: "faint" }, [zeros]),
    txid.slice(zeros.length),
    el("span", { class: "faint" }, [`/${checksum}`]),
  )
  cells.position.title = row.position
  cells.size.textContent = size(row.size)
}

function rowState({ state, lagMs, transactions, pages, size }, txid) {
  if (state === "left-out") return ["bad", "left out"]
  if (state === "arriving") return ["wait", "on its way"]
  if (/^0*$/.test(txid)) return ["info", "empty"]
  if (pages === 0 && size === 0) return ["info", "dropped"]
  if (known.node.role === "primary") return ["ok", "here"]
  const isBehind = lagMs === null || lagMs > 10_000 || transactions > 1000
  return [
    isBehind ? "warn" : "ok",
    lagMs === 0 && !transactions ? "current" : behind(lagMs, transactions),
  ]
}

// --- plots ---

const WIDTH = 600
const HEIGHT = 110

function drawPlots() {
  const isPrimary = known.node.role === "primary"
  plot("rate", {
    title: isPrimary ? "Transactions a second" : "Transactions applied a second",
    value: ({ rate }) => rate,
    format: (value) => number(value < 10 ? value : Math.round(value)),
    least: 1,
  })
  const lag = {
    title: "Lag behind the primary",
    value: ({ lagMs }) => lagMs,
    format: (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${number(Math.round(ms / 100) / 10)} s`),
    least: 5000,
    late: 10_000,
  }
  const unsent = {
    title: "Transactions that a replica lacks",
    value: (sample) => sample.unsent,
    format: number,
    least: 10,
    late: 1000,
    none: "no replica",
  }
  plot("lag", isPrimary ? unsent : lag)
}

function plot(
  id,
  { title, value, format, least, late = Number.POSITIVE_INFINITY, none = "unknown" },
) {
  const figure = $(`plot-${id}`) ?? newPlot(id)
  const points = known.samples
    .map((sample) => ({ atMs: sample.wallMs, y: value(sample) }))
    .filter(({ y }) => y !== null)
  const most = Math.max(0, ...points.map(({ y }) => y))
  const top = nice(Math.max(most, least))
  const last = points.at(-1)
  const isNow = last !== undefined && last.atMs === known.samples.at(-1).wallMs
  const present = isNow ? format(last.y) : known.samples.length === 0 ? "–" : none
  const x = (atMs) => WIDTH * (1 - (known.samples.at(-1).wallMs - atMs) / SPAN_MS)
  const y = (value) => HEIGHT - 1 - (HEIGHT - 4) * (value / top)
  let [line, area] = ["", ""]
  let run = []
  const endRun = () => {
    const drawn = run.map(({ atMs, y: at }) => `${x(atMs).toFixed(1)} ${y(at).toFixed(1)}`)
    if (run.length > 1) {
      line += `M${drawn.join("L")}`
      area += `M${x(run[0].atMs).toFixed(1)} ${HEIGHT}L${drawn.join("L")}L${x(run.at(-1).atMs).toFixed(1)} ${HEIGHT}Z`
    }
    run = []
  }
  for (const point of points) {
    if (run.length > 0 && point.atMs - run.at(-1).atMs > GAP_MS) endRun()
    run.push(point)
  }
  endRun()
  const isLate = isNow && last.y > late
  const part = (name) => figure.querySelector(`.${name}`)
  part("line").setAttribute("d", line)
  part("area").setAttribute("d", area)
  part("line").classList.toggle("late", isLate)
  part("area").classList.toggle("late-area", isLate)
  part("what").textContent = title
  part("now").textContent = present
  part("top").textContent = format(top)
  const spoken = `${title}: ${present} now, at most ${format(most)} in the last five minutes`
  figure.querySelector("svg").setAttribute("aria-label", spoken)
}

function newPlot(id) {
  const grid = [3, 3 + (HEIGHT - 4) / 2, HEIGHT - 1].map((each) => {
    const at = String(each)
    return svg("line", { class: "grid", x1: "0", x2: String(WIDTH), y1: at, y2: at })
  })
  const figure = el("figure", { id: `plot-${id}` }, [
    el("figcaption", {}, [el("span", { class: "what" }), el("b", { class: "now" })]),
    el("p", { class: "top quiet" }),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, [
      ...grid,
      svg("path", { class: "area" }),
      svg("path", { class: "line" }),
    ]),
    el("p", { class: "axis quiet" }, [el("span", {}, ["5 min ago"]), el("span", {}, ["now"])]),
  ])
  $("plots").append(figure)
  return figure
}

/** The next of 1, 2, 5, 10, 20 … */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value))
  return power * [1, 2, 5, 10].find((step) => step * power >= value)
}

// --- events ---

function drawEvents() {
  const events = [...known.events.values()].sort((a, b) => b.wallMs - a.wallMs || b.id - a.id)
  list("events", events.slice(0, EVENT_COUNT), ({ wallMs, level, msg, fields, count }) => {
    const time = new Date(wallMs)
    const when = el("time", { class: "quiet", datetime: time.toISOString() }, [clock(time)])
    const said = Object.entries(fields).flatMap(([key, value]) => [
      el("span", {}, [el("span", { class: "quiet" }, [key]), ` ${value}`]),
      " ",
    ])
    const times = count > 1 ? ` (${number(count)} times)` : ""
    return el("li", {}, [
      when,
      dot(level),
      el("div", {}, [`${msg}${times}`, el("div", { class: "fields" }, said)]),
    ])
  })
  $("silent").hidden = events.length > 0
}

/** Of another day with its date. */
function clock(time) {
  const today = new Date(now()).toDateString() === time.toDateString()
  const date = `${time.toLocaleDateString(undefined, { month: "short", day: "numeric" })} `
  return `${today ? "" : date}${time.toLocaleTimeString(undefined, { hour12: false })}`
}

function drawLive() {
  if (known === undefined) return
  const ageMs = Date.now() - heard.atMs
  text("live", lost ? "not connected" : ageMs < 15_000 ? "live" : `${span(ageMs)} old`)
}
setInterval(drawLive, 1000)

// --- words ---

/** The time of the node. */
function now() {
  return heard.wallMs + (Date.now() - heard.atMs)
}

function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000))
  if (s < 120) return `${s} s`
  if (s < 7200) return `${Math.floor(s / 60)} min`
  if (s < 172_800) return `${Math.floor(s / 3600)} h`
  return `${Math.floor(s / 86_400)} days`
}

function size(bytes) {
  const step = bytes < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(bytes) / 3))
  const value = bytes / 1000 ** step
  return `${value < 10 && step > 0 ? value.toFixed(1) : Math.round(value)} ${["B", "kB", "MB", "GB", "TB"][step]}`
}

function number(value) {
  return value.toLocaleString("en")
}

function counted(count, what) {
  return `${number(count)} ${what}${count === 1 ? "" : "s"}`
}

// --- elements ---

function el(name, attributes = {}, children = []) {
  return build(document.createElement(name), attributes, children)
}

function svg(name, attributes = {}, children = []) {
  return build(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children)
}

function build(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  element.append(...children)
  return element
}

function text(id, content) {
  if ($(id).textContent !== content) $(id).textContent = content
}

/** Draws only when something is other. */
function list(id, items, draw) {
  const drawn = items.map(draw)
  const before = [...$(id).children]
  const isSame =
    drawn.length === before.length && drawn.every((each, i) => each.isEqualNode(before[i]))
  if (!isSame) $(id).replaceChildren(...drawn)
}

function dot(level) {
  const spoken = {
    ok: "well: ",
    wait: "wait: ",
    warn: "warning: ",
    bad: "trouble: ",
    error: "error: ",
  }
  const color = level === "error" ? "bad" : level
  const mark = el("i", { class: `dot ${color}`, "aria-hidden": "true" }, [MARKS[level]])
  const span = el("span", {}, [mark])
  if (spoken[level]) span.append(el("span", { class: "spoken" }, [spoken[level]]))
  return span
}

void watch()
