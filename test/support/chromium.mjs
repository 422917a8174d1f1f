/** A page of a Chromium of its own, for programs that tests start. */
import { chromium } from "playwright-core"

/** `problems` gets what the page throws. Close the context at the end. */
export async function openChromium(profile, limitMs) {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: "/usr/bin/chromium",
    headless: true,
    args: [
      ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
      ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ],
  })
  context.setDefaultTimeout(limitMs)
  const page = context.pages()[0] ?? (await context.newPage())
  const problems = []
  page.on("pageerror", (error) => problems.push(String(error)))
  return { context, page, problems }
}
