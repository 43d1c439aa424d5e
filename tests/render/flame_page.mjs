// Uses the pages in a folder as a reader would, and prints what it saw as JSON: node flame_page.mjs CHROMIUM FOLDER
import { withBrowser } from "../../frontend/browser.mjs";

const [executable, folder] = process.argv.slice(2);
const text = (page, selector) => page.locator(selector).innerText();
const details = async (page) => [await text(page, "#name"), await text(page, "#numbers")];
const hash = async (page) => Object.fromEntries(new URLSearchParams((await page.evaluate(() => location.hash)).slice(1)));

/** Where the widest frame of that name is, in CSS pixels of the window. */
async function find(page, name) {
  return page.evaluate((wanted) => {
    const { flame } = document.getElementById("app");
    const { layout, painter, view, stage } = flame;
    let best = [0, 0, 0];
    for (const node of layout.nodes) {
      const [left, width] = painter.extent(view, node);
      if (flame.nameOf(node) !== wanted || width <= best[2]) continue;
      const top = painter.levelTop(layout.tree.depth[node], flame.state.icicle) + painter.row / 2;
      best = [left + width / 2, top - stage.scrollTop, width];
    }
    const box = document.getElementById("picture").getBoundingClientRect();
    return { x: box.left + best[0], y: box.top + best[1], width: best[2] };
  }, name);
}

const pixel = (page, at) =>
  page.evaluate(({ x, y, width }) => {
    const canvas = document.getElementById("picture");
    const box = canvas.getBoundingClientRect();
    const ratio = canvas.width / box.width;
    const place = [x - box.left - width / 2 + 2, y - box.top - 6].map((value) => Math.round(value * ratio));
    return [...canvas.getContext("2d").getImageData(...place, 1, 1).data];
  }, at);

const facts = await withBrowser(executable, async (open) => {
  const seen = {};
  const page = await open(`${folder}/busy.html`, { width: 1200, height: 900 });
  seen.total = await text(page, "#total");
  seen.legend = await text(page, "#legend");
  seen.width = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  seen.whole = await details(page);

  // mouse: hover, click, reset
  const main = await find(page, "main_[g]");
  await page.mouse.move(main.x, main.y);
  seen.tip = await text(page, "#tip");
  seen.hovered = await details(page);
  await page.mouse.click(main.x, main.y);
  await page.mouse.move(5, 5);
  seen.zoomed = { width: (await find(page, "main_[g]")).width, path: await text(page, "#path"), details: await details(page) };
  seen.zoomedHash = await hash(page);
  const compress = await find(page, "compress_[p]");
  await page.mouse.click(compress.x, compress.y);
  seen.deeper = await details(page);
  await page.goBack();
  await page.locator("#path .here", { hasText: "main_[g]" }).waitFor();
  seen.back = await text(page, "#path .here");
  await page.click("#path .reset");
  seen.reset = { path: await text(page, "#path"), hash: await hash(page) };

  // search: share without counting nested frames twice; case; a pattern that is not one
  await page.keyboard.press("/");
  await page.keyboard.type("scan_once|PARSE_object");
  seen.search = await text(page, "#found");
  seen.searchHash = await hash(page);
  seen.matchColor = await pixel(page, await find(page, "scan_once"));
  seen.fadedColor = await pixel(page, await find(page, "main_[g]"));
  await page.click("#case");
  seen.searchCase = await text(page, "#found");
  await page.fill("#search", "pair<int, int>&&)");
  seen.searchPlain = await text(page, "#found");
  await page.keyboard.press("Escape");
  seen.searchCleared = [await text(page, "#found"), await page.inputValue("#search")];

  // keyboard: the focus is on the picture now
  seen.focus = await page.evaluate(() => document.activeElement.id);
  await page.keyboard.press("ArrowUp");
  seen.root = (await details(page))[0];
  for (const key of ["ArrowUp", "ArrowUp", "ArrowRight"]) await page.keyboard.press(key);
  seen.moved = (await details(page))[0];
  seen.spoken = await page.locator("#spoken").textContent();
  await page.keyboard.press("ArrowDown");
  seen.down = (await details(page))[0];
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  seen.entered = await text(page, "#path .here");
  await page.keyboard.press("Escape");
  seen.escaped = await text(page, "#path");
  await page.keyboard.press("?");
  seen.help = await page.locator("#keys").evaluate((dialog) => dialog.open);
  await page.keyboard.press("Escape");

  // views
  const flameTop = (await find(page, "all")).y;
  await page.keyboard.press("i");
  seen.icicle = { above: (await find(page, "all")).y < flameTop, hash: await hash(page) };
  await page.keyboard.press("r");
  seen.reversed = { first: (await find(page, "longest_match")).y < (await find(page, "deflate")).y, numbers: await text(page, "#legend") };
  await page.keyboard.press("r");
  await page.selectOption("#group", { label: "worker 11 – 30.0 %" });
  seen.group = { total: await text(page, "#total"), main: (await find(page, "main_[g]")).width, hash: await hash(page) };
  await page.selectOption("#order", "weight");
  seen.heaviestLeft = (await find(page, "compress_[p]")).x < (await find(page, "hash_[p]")).x;
  await page.selectOption("#color", "object");
  seen.objects = await text(page, "#legend");

  // table
  await page.keyboard.press("Escape");
  await page.click("#table");
  const column = (index) => page.$$eval(`#functions tbody td:nth-child(${index})`, (cells) => cells.map((cell) => cell.textContent));
  seen.table = { self: await column(1), names: await column(3), sorted: await page.locator("#functions th").first().getAttribute("aria-sort") };
  await page.click("#functions th:nth-child(3) button");
  seen.tableByName = await column(3);
  await page.click("#functions tbody tr:first-child button");
  seen.tableChosen = await hash(page);

  // the address alone brings the same view
  const address = await page.evaluate(() => location.hash.slice(1));
  const linked = await open(`${folder}/busy.html`, { width: 1200, height: 900, hash: address });
  seen.linked = [await hash(linked), await text(linked, "#total"), await text(linked, "#found")];
  const zoomed = await open(`${folder}/busy.html`, { hash: new URLSearchParams(seen.zoomedHash).toString() });
  seen.linkedZoom = await text(zoomed, "#path .here");

  const pages = [page, linked, zoomed];
  seen.fits = [];
  for (const width of [800, 1600]) {
    for (const table of ["", "table=1"]) {
      const other = await open(`${folder}/busy.html`, { width, height: 700, hash: table, deviceScaleFactor: 2 });
      seen.fits.push(await other.evaluate(() => {
        const cut = [...document.querySelectorAll("button, select, input, header p, .notes li, #legend li, #numbers")].filter((element) => {
          const box = element.getBoundingClientRect();
          return box.width > 0 && (box.right > innerWidth + 0.5 || box.left < 0) && !element.closest(".scroll");
        });
        const canvas = document.getElementById("picture");
        const sharp = Math.round(canvas.clientWidth * 2) === canvas.width;
        return { cut: cut.map((element) => element.id), scroll: document.documentElement.scrollWidth - innerWidth, sharp, height: canvas.clientHeight };
      }));
      pages.push(other);
    }
  }
  for (const name of ["hostile", "empty", "deep", "big"]) {
    const other = await open(`${folder}/${name}.html`);
    seen[name] = { total: await text(other, "#total"), title: await other.title(), elements: await other.$$eval("body img, body script:not([type]):not(:last-of-type)", (found) => found.length) };
    if (name === "deep") {
      seen.deepRows = await other.evaluate(() => [document.getElementById("sizer").clientHeight, document.getElementById("picture").clientHeight]);
      await other.evaluate(() => { document.getElementById("stage").scrollTop = 0; document.getElementById("app").flame.draw(); });
      seen.deepPixel = await pixel(other, { ...(await find(other, "all")), x: 600, y: (await other.locator("#stage").boundingBox()).y + 60, width: 0 });
    }
    pages.push(other);
  }
  const still = await open(`${folder}/busy.html`, { javaScriptEnabled: false });
  seen.noScript = await text(still, "noscript");
  seen.problems = pages.flatMap((each) => each.problems);
  seen.requests = pages.flatMap((each) => each.requests).filter((url) => !/^(file|data):/.test(url));
  return seen;
});
console.log(JSON.stringify(facts));
