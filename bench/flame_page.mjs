// Measures redraws of a flame graph page in Chromium: node flame_page.mjs CHROMIUM PAGE -> JSON, milliseconds.
import { withBrowser } from "../frontend/browser.mjs";

const [executable, file] = process.argv.slice(2);

/** Runs in the page. Reading a pixel back makes Chromium carry out what the canvas has queued. */
function measure(rounds) {
  const { flame } = document.getElementById("app");
  const context = document.getElementById("picture").getContext("2d"); // the page's own context
  const median = (times) => times.sort((a, b) => a - b)[times.length >> 1];
  const time = (action) => {
    const times = [];
    for (let i = 0; i < rounds; i++) {
      const begin = performance.now();
      action(i);
      context.getImageData(0, 0, 1, 1);
      times.push(performance.now() - begin);
    }
    return median(times);
  };
  const nodes = flame.layout.nodes;
  const inside = nodes[flame.layout.start[3]];
  return {
    whole: time(() => flame.draw()),
    zoom: time((i) => flame.zoom(i % 2 ? 0 : inside)),
    zoomed: (flame.zoom(inside), time(() => flame.draw())),
    search: (flame.zoom(0), time((i) => flame.searchFor(i % 2 ? "get" : "put", false))),
    reversed: time(() => flame.toggle("reversed")),
  };
}

const result = await withBrowser(executable, async (open) => {
  const page = await open(file, { width: 1600, height: 1400 });
  return page.evaluate(measure, 15);
});
console.log(JSON.stringify(result));
