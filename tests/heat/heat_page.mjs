// Uses the pages in a folder as a reader would, and prints what it saw as JSON: node heat_page.mjs CHROMIUM FOLDER
import { withBrowser } from "../../frontend/browser.mjs";

const [executable, folder] = process.argv.slice(2);
const text = (page, selector) => page.locator(selector).innerText();
const rows = (page, table) => page.$$eval(`${table} tbody tr`, (lines) => lines.map((line) => [...line.cells].map((cell) => cell.textContent)));

/** Middle of a cell, in CSS pixels of the window. */
const middle = (page, column, row) =>
  page.evaluate(([c, r]) => {
    const { painter } = document.getElementById("heat").heat;
    const [left, top, width, height] = painter.place({ left: c, right: c, bottom: r, top: r });
    const box = document.getElementById("heat-picture").getBoundingClientRect();
    return { x: box.left + left + width / 2, y: box.top + top + height / 2 };
  }, [column, row]);

const facts = await withBrowser(executable, async (open) => {
  const seen = {};
  const page = await open(`${folder}/two.html`, { width: 1200, height: 900 });
  seen.all = [await text(page, "#heat-count"), await text(page, "#heat-percentiles"), await text(page, "#total")];
  const size = await page.evaluate(() => {
    const { heat } = document.getElementById("heat").heat;
    return [heat.columns, heat.rows];
  });
  // drag over the upper half: the slow ones
  const half = await page.evaluate(() => {
    const { heat } = document.getElementById("heat").heat;
    return heat.edges.findIndex((edge) => edge >= 100_000);
  });
  const from = await middle(page, 0, half);
  const to = await middle(page, size[0] - 1, size[1] - 1);
  await page.mouse.move(from.x, from.y);
  await page.mouse.down();
  await page.mouse.move(to.x, to.y, { steps: 3 });
  seen.tip = await text(page, "#heat-tip");
  await page.mouse.up();
  seen.slow = [await text(page, "#heat-count"), await text(page, "#heat-percentiles"), await text(page, "#total")];
  seen.command = await text(page, "#heat-command");
  seen.box = await page.locator("#heat-box").isVisible();
  await page.click("#tab-events");
  seen.events = await rows(page, "#events-table");
  seen.caption = await text(page, "#events-caption");
  await page.selectOption("#events-order", "value");
  seen.largest = (await rows(page, "#events-table")).map((row) => row[1]);
  await page.click("#tab-tasks");
  seen.tasks = await rows(page, "#tasks-table");
  seen.hash = await page.evaluate(() => location.hash);

  // the address alone brings the selection; keys
  const again = await open(`${folder}/two.html`, { width: 800, height: 900, hash: seen.hash.slice(1) });
  seen.linked = [await text(again, "#heat-count"), await text(again, "#total")];
  await again.focus("#heat-picture");
  await again.keyboard.press("Escape");
  seen.escaped = await text(again, "#heat-count");
  await again.keyboard.press("ArrowRight");
  await again.keyboard.press("Enter");
  seen.cell = await text(again, "#heat-count");
  await again.keyboard.press("Shift+ArrowUp");
  await again.keyboard.press("Shift+ArrowRight");
  seen.keyHash = await again.evaluate(() => new URLSearchParams(location.hash.slice(1)).get("select"));
  await again.focus("#tab-flame");
  await again.keyboard.press("ArrowRight");
  seen.tab = await again.evaluate(() => document.activeElement.id);
  await again.evaluate(() => document.getElementById("app").flame.searchFor("begin", false));
  seen.together = await again.evaluate(() => location.hash);

  const pages = [page, again];
  seen.cut = [];
  for (const name of ["two", "hostile", "empty", "offset", "many"]) {
    for (const width of [420, 1500]) {
      const other = await open(`${folder}/${name}.html`, { width, height: 900, colorScheme: width > 1000 ? "dark" : "light" });
      seen.cut.push(await other.evaluate(() => document.documentElement.scrollWidth - innerWidth));
      if (width > 1000) {
        await other.click("#tab-events");
        seen[name] = { count: await text(other, "#heat-count"), caption: await text(other, "#events-caption"), title: await other.title() };
        seen[name].elements = await other.$$eval("body img, table script", (found) => found.length);
        await other.click("#tab-tasks");
        seen[name].tasks = (await rows(other, "#tasks-table")).map((row) => row[0]);
      }
      pages.push(other);
    }
  }
  const still = await open(`${folder}/two.html`, { javaScriptEnabled: false });
  seen.noScript = await text(still, "noscript");
  seen.problems = pages.flatMap((each) => each.problems);
  seen.requests = pages.flatMap((each) => each.requests).filter((url) => !/^(file|data):/.test(url));
  return seen;
});
console.log(JSON.stringify(facts));
