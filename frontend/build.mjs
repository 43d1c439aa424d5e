// Bundles the pages' scripts and styles into src/linscope/render/assets (or the folder given), which the wheel ships.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const assets = process.argv[2] ?? join(here, "..", "src", "linscope", "render", "assets");

await mkdir(assets, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: {
    flame: "src/flame/main.ts",
    "flame-page": "src/flame/page.css",
    heat: "src/heat/main.ts",
    "heat-page": "src/heat/page.css",
  },
  outdir: assets,
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  charset: "ascii",
  legalComments: "none",
  logLevel: "warning",
});
const flame = await readFile(join(here, "src", "flame", "app.html"), "utf8");
for (const name of ["flame", "heat"]) {
  const page = await readFile(join(here, "src", name, "page.html"), "utf8");
  await writeFile(join(assets, `${name}-page.html`), page.replace("<!-- flame/app.html -->\n", () => flame));
}
