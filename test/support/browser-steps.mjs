/**
 * A browser that does one step after the other for a test: lines of JSON on its standard input, and a line for each on
 * its standard output, `{seen}` or `{problem}`. A program of its own, as it waits for pages.
 *
 *     node browser-steps.mjs PROFILE
 *
 *   {"do":"open","url":…}                       {"do":"see","selector":…,"pattern":…}   waits until its text matches
 *   {"do":"fill","selector":…,"text":…}         {"do":"texts","selector":…}             of all, as they are
 *   {"do":"press","selector":…,"key":…}         {"do":"count","selector":…}
 *   {"do":"size","width":…,"height":…}          {"do":"scheme","scheme":"light"|"dark"}
 *   {"do":"shot","path":…}                      {"do":"evaluate","code":…}
 *   {"do":"problems"}                           what a page has thrown, logged as an error, or asked another host for
 */
import { createInterface } from "node:readline"
import { openChromium } from "./chromium.mjs"

const LIMIT_MS = 45_000
const { context, page, problems } = await openChromium(process.argv[2], LIMIT_MS)
let host
page.on("dialog", (dialog) => {
  problems.push(`a dialog: ${dialog.message()}`)
  void dialog.dismiss()
})
page.on("console", (message) => {
  if (message.type() === "error") problems.push(message.text())
})
page.on("request", (request) => {
  const url = new URL(request.url())
  if (url.protocol !== "data:" && url.host !== host) problems.push(`a request to ${url.host}`)
})

const steps = {
  async open({ url }) {
    host = new URL(url).host
    await page.goto(url)
  },
  fill: ({ selector, text }) => page.fill(selector, text),
  press: ({ selector, key }) => page.press(selector, key),
  async see({ selector, pattern }) {
    const wanted = new RegExp(pattern)
    const deadline = Date.now() + LIMIT_MS
    for (;;) {
      const text = (await page.locator(selector).allInnerTexts()).join("\n")
      if (wanted.test(text)) return text
      if (Date.now() > deadline) throw new Error(`no ${pattern} in ${selector}, but: ${text}`)
      await page.waitForTimeout(50)
    }
  },
  texts: ({ selector }) => page.locator(selector).allInnerTexts(),
  count: ({ selector }) => page.locator(selector).count(),
  size: ({ width, height }) => page.setViewportSize({ width, height }),
  scheme: ({ scheme }) => page.emulateMedia({ colorScheme: scheme }),
  shot: ({ path }) => page.screenshot({ path, fullPage: true }).then(() => path),
  evaluate: ({ code }) => page.evaluate(code),
  problems: () => problems.splice(0),
}

console.log("{}")
for await (const line of createInterface({ input: process.stdin })) {
  const step = JSON.parse(line)
  try {
    console.log(JSON.stringify({ seen: (await steps[step.do](step)) ?? null }))
  } catch (error) {
    console.log(JSON.stringify({ problem: String(error) }))
  }
}
await context.close()
