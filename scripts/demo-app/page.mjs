/** The one page of the application, as HTML. */

export function notesPage({ home, name, notes, files, node }) {
  const role = home === undefined ? "the primary" : "a replica"
  return page(
    `Notes on ${role}`,
    `<p class="node">served by process ${node}${home === undefined ? "" : `, ${primaryLink(home)}`}</p>
    ${name === undefined ? signInForm() : signedIn(name)}
    <section>
      <form method="post" action="/notes">
        <input name="text" placeholder="A new note" aria-label="A new note" required autofocus>
        <button>Add</button>
      </form>
      ${notes.length > 0 ? `<ul id="notes">${notes.map(noteItem).join("\n")}</ul>` : "<p>There are no notes yet.</p>"}
    </section>
    <section>
      <h2>Files</h2>
      <form id="upload"><input type="file" name="file" aria-label="A file" required><button>Upload</button></form>
      <ul id="files">${files.map(fileItem).join("\n")}</ul>
    </section>
    <section class="live">
      <div><h2>Events</h2><ol id="events"></ol></div>
      <div>
        <h2>WebSocket</h2>
        <form id="say"><input name="text" placeholder="Say something" aria-label="Say something" required><button>Send</button></form>
        <ol id="heard"></ol>
      </div>
    </section>
    <script>${SCRIPT}</script>`,
  )
}

export function replicaPage(home) {
  return page("This is a replica", `<p>Notes are added on ${primaryLink(home)}</p>`)
}

export function page(title, body) {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>${title}</title>
<style>${STYLE}</style>
<h1>${title}</h1>
${body}
</html>
`
}

function signInForm() {
  return `<form method="post" action="/session">
    <input name="name" placeholder="Your name" aria-label="Your name" required><button>Sign in</button>
  </form>`
}

function signedIn(name) {
  return `<form method="post" action="/session/end">
    <span id="name">Hello, <strong>${escaped(name)}</strong></span><button>Sign out</button>
  </form>`
}

function noteItem({ text, name, at }) {
  return `<li>${escaped(text)} <small>${escaped(name)} <time>${escaped(at)}</time></small></li>`
}

function fileItem({ id, name, sha256, size }) {
  const digest = `<code title="${sha256}">${sha256.slice(0, 12)}</code>`
  return `<li><a href="/files/${id}">${escaped(name)}</a> <small>${size} bytes ${digest}</small></li>`
}

function primaryLink(home) {
  const url = escaped(`http://${home}`)
  return `the primary is <a href="${url}">${url}</a>`
}

export function escaped(text) {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}

const STYLE = `
  body { font: 1.05rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2.5rem auto; padding: 0 1rem; color: #222 }
  h1 { margin: 0 } h2 { font-size: 1.1rem; margin: 1.5rem 0 .5rem }
  .node, small { color: #777; font-size: .85rem }
  form { display: flex; gap: .5rem; margin: .75rem 0; align-items: center }
  form > :first-child { flex: 1 }
  input, button { font: inherit; padding: .4rem .7rem; border: 1px solid #bbb; border-radius: .3rem }
  button { background: #245; color: white; border-color: #245 }
  ul, ol { list-style: none; padding: 0; margin: 0 }
  li { padding: .4rem 0; border-bottom: 1px solid #e4e4e4 } li small { float: right }
  .live { display: grid; grid-template-columns: 1fr 1fr; gap: 2rem } .live li { font-size: .9rem }
`

const SCRIPT = `
  const add = (list, text) => {
    const item = document.createElement("li")
    item.textContent = text
    document.getElementById(list).append(item)
  }
  new EventSource("/events").onmessage = ({ data }) => add("events", data)

  const socket = new WebSocket(location.origin.replace("http", "ws") + "/echo")
  socket.onmessage = ({ data }) => add("heard", data)
  document.getElementById("say").onsubmit = (event) => {
    event.preventDefault()
    socket.send(event.target.text.value)
    event.target.reset()
  }

  document.getElementById("upload").onsubmit = async (event) => {
    event.preventDefault()
    const [file] = event.target.file.files
    const answer = await fetch("/files?name=" + encodeURIComponent(file.name), { method: "POST", body: file })
    if (answer.ok) location.reload()
    else alert(await answer.text())
  }
`
