// Opens pages in Debian's Chromium, headless and without any network, for tests and measurements.
import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Calls use(open) where open(file, options) gives a drawn page; closes everything at the end. */
export async function withBrowser(executable, use) {
  const browser = await chromium.launch({ executablePath: executable, args: FLAGS });
  try {
    return await use(async (file, { width = 1200, height = 800, hash = "", ...options } = {}) => {
      const page = await browser.newPage({ viewport: { width, height }, ...options });
      page.problems = [];
      page.requests = [];
      page.on("pageerror", (error) => page.problems.push(error.message));
      page.on("console", (message) => {
        // a hint about reading pixels back, which only tests and measurements do
        if (!message.text().includes("willReadFrequently")) page.problems.push(message.text());
      });
      page.on("request", (request) => page.requests.push(request.url()));
      await page.goto(`file://${file}${hash ? `#${hash}` : ""}`);
      if (options.javaScriptEnabled !== false) await page.waitForSelector("html[data-ready]");
      return page;
    });
  } finally {
    await browser.close();
  }
}
