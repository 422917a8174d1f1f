/**
 * Clicks through the demo's application (scripts/demo-app) as its users do, in Chromium, and prints what it saw as
 * lines of JSON. A program of its own: it waits for pages, and its time is limited by whoever starts it.
 *
 *     node browser-visit.mjs '{"url":…,"otherUrl":…,"file":…,"profile":…,"notes":…,"screenshot":…}'
 *
 * Each step waits for what should be there and fails without it. A page after a form is looked at once, as it is:
 * nothing loads it again.
 */
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { openChromium } from "./chromium.mjs"

const { url, otherUrl, file, profile, notes, screenshot } = JSON.parse(process.argv[2])
const LIMIT_MS = 20_000

const { context, page, problems } = await openChromium(profile, LIMIT_MS)
page.on("response", (answer) => {
  if (answer.status() >= 400) problems.push(`${answer.status()} ${answer.url()}`)
})

const say = (what, seen) => console.log(JSON.stringify({ what, seen }))
const heading = () => page.locator("h1").textContent()
const texts = (selector) => page.locator(selector).allTextContents()

async function send(label, text, button) {
  await page.getByLabel(label).fill(text)
  await Promise.all([page.waitForEvent("load"), page.getByRole("button", { name: button }).click()])
}

try {
  await page.goto(url)
  say("heading", await heading())
  await send("Your name", "Ada", "Sign in")
  say("signed in", await texts("#name"))

  const listener = await context.newPage()
  await listener.goto(url)
  await listener.locator("#events li", { hasText: "listening" }).waitFor()

  const missing = []
  for (let count = 1; count <= notes; count++) {
    const note = `note ${count}`
    await send("A new note", note, "Add")
    const [first] = await texts("#notes li")
    if (!first?.startsWith(`${note} Ada`)) missing.push(`${note}: ${first}`)
  }
  say("notes that were not on the next page", missing)
  await listener.locator("#events li", { hasText: `Ada: note ${notes}` }).waitFor()
  say("events", (await listener.locator("#events li").allTextContents()).slice(1))
  await listener.close()

  await page.getByLabel("A file").setInputFiles(file)
  await Promise.all([
    page.waitForEvent("load"),
    page.getByRole("button", { name: "Upload" }).click(),
  ])
  const [sha256] = await page
    .locator("#files li code")
    .evaluateAll((all) => all.map(({ title }) => title))
  const link = page.locator("#files a")
  const content = await (
    await context.request.get(new URL(await link.getAttribute("href"), url).href)
  ).body()
  const digest = (bytes) => createHash("sha256").update(bytes).digest("hex")
  const wanted = digest(readFileSync(file))
  say("upload", [await link.textContent(), sha256 === wanted, digest(content) === wanted])

  for (const word of ["one", "two"]) {
    await page.getByLabel("Say something").fill(word)
    await page.getByRole("button", { name: "Send" }).click()
    await page.locator("#heard li", { hasText: word }).waitFor()
  }
  say("heard", await texts("#heard li"))
  if (screenshot !== undefined) await page.screenshot({ path: screenshot, fullPage: true })

  await page.goto(otherUrl)
  say("on another node", [
    await heading(),
    await texts("#name"),
    await page.locator("#notes li").count(),
  ])
  await page.goto(url)
  await Promise.all([
    page.waitForEvent("load"),
    page.getByRole("button", { name: "Sign out" }).click(),
  ])
  say("signed out", [await page.getByLabel("Your name").count(), await texts("#name")])
} catch (error) {
  problems.push(String(error))
}
say("problems", problems)
await context.close()
