// Draws one layout on a canvas as tall as the visible part. Frames narrower than half a pixel are left out, but
// where they stand side by side one of them is drawn for each half pixel, so that no weight looks like a hole.

import type { Colors } from "./color";
import type { Layout } from "./tree";

/** Colors of the canvas that are not a frame's. */
export interface Theme {
  text: string;
  faded: string;
  match: string;
}

export interface View {
  layout: Layout;
  names: string[];
  colors: Colors;
  theme: Theme;
  icicle: boolean;
  zoom: number; // node that fills the width
  matches: Uint8Array | null; // per node
}

const PAD = 5;
const MIN_TEXT = 22;
const NORMAL = 0;
const DIM = 1;
const FADED = 2;
const ALPHA = [1, 0.45, 0.32];
const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";

/** Weight of frames that stand side by side without a gap. */
class Run {
  private weight = 0;
  private end = -1;

  add(at: number, weight: number): number {
    this.weight = at === this.end ? this.weight + weight : weight;
    this.end = at + weight;
    return this.weight;
  }

  clear(): void {
    this.weight = 0;
  }
}

export class Painter {
  width = 0; // CSS pixels
  height = 0;
  row = 20;
  levels = 1; // that show something at this zoom
  private ratio = 1;
  private readonly context: CanvasRenderingContext2D;
  private readonly advances = new Map<string, number>();
  // visible rectangles, grown on demand: device x, y, width, and what to fill with
  private left = new Float32Array(4096);
  private top = new Float32Array(4096);
  private wide = new Float32Array(4096);
  private key = new Uint16Array(4096);

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext("2d", { alpha: true })!;
  }

  /** Fits the bitmap to the element; all sizes are CSS pixels. */
  resize(width: number, height: number): void {
    this.ratio = window.devicePixelRatio || 1;
    this.width = width;
    this.height = height;
    this.canvas.width = Math.max(1, Math.round(width * this.ratio));
    this.canvas.height = Math.max(1, Math.round(height * this.ratio));
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
  }

  /** Counts the levels that have a frame to show at this zoom, and chooses the height of a row. */
  measure(view: View): void {
    const { layout, zoom } = view;
    const { tree, nodes, start, x } = layout;
    const from = x[zoom]!;
    const to = from + tree.total[zoom]!;
    const least = this.leastWeight(tree.total[zoom]!);
    let level = tree.depth[zoom]!;
    for (let shown = true; shown && level + 1 < tree.levels; ) {
      shown = false;
      const run = new Run();
      const end = start[level + 2]!;
      for (let i = Math.max(layout.search(level + 1, from), start[level + 1]!); i < end; i++) {
        const node = nodes[i]!;
        if (x[node]! >= to) break;
        if (x[node]! >= from && (tree.total[node]! >= least || run.add(x[node]!, tree.total[node]!) >= least)) {
          shown = true;
          break;
        }
      }
      if (shown) level++;
    }
    this.levels = level + 1;
    this.row = Math.min(23, Math.max(19, Math.floor(this.height / this.levels)));
  }

  private leastWeight(whole: number): number {
    return (0.5 * whole) / Math.max(1, this.width * this.ratio);
  }

  /** Height of all rows, CSS pixels. */
  contentHeight(): number {
    return this.levels * this.row;
  }

  /** Top of the level in the scrolled content, CSS pixels. */
  levelTop(level: number, icicle: boolean): number {
    if (icicle) return level * this.row;
    return Math.max(this.contentHeight(), this.height) - (level + 1) * this.row;
  }

  /** Node at the point (CSS pixels in the scrolled content), or -1. */
  hit(view: View, px: number, py: number): number {
    const base = Math.max(this.contentHeight(), this.height);
    const level = Math.floor((view.icicle ? py : base - py) / this.row);
    const { tree, x } = view.layout;
    if (level >= this.levels) return -1;
    const weight = x[view.zoom]! + (px / this.width) * tree.total[view.zoom]!;
    return view.layout.hit(level, weight);
  }

  /** Left edge and width of a node, CSS pixels, cut to the picture. */
  extent(view: View, node: number): [number, number] {
    const { tree, x } = view.layout;
    const scale = this.width / Math.max(tree.total[view.zoom]!, Number.MIN_VALUE);
    const left = Math.max(0, (x[node]! - x[view.zoom]!) * scale);
    const right = Math.min(this.width, (x[node]! + tree.total[node]! - x[view.zoom]!) * scale);
    return [left, Math.max(0, right - left)];
  }

  /** Draws the rows that are visible when the content is scrolled down by scroll CSS pixels. */
  draw(view: View, scroll: number): void {
    const { layout, zoom, colors, matches, icicle } = view;
    const { tree, nodes, start, x } = layout;
    const { total, name, depth } = tree;
    const { context, ratio } = this;
    const whole = total[zoom]!;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (whole <= 0) return;

    const from = x[zoom]!;
    const to = from + whole;
    const scale = (this.width * ratio) / whole;
    const least = this.leastWeight(whole);
    const gap = Math.max(1, Math.round(ratio * 0.75));
    const rowHeight = Math.round(this.row * ratio) - Math.max(1, Math.round(ratio));
    const counts = new Uint32Array(colors.palette.length * 3 + 2);
    const texts: number[] = []; // node, rectangle
    let count = 0;
    for (let level = 0; level < this.levels; level++) {
      const cssTop = this.levelTop(level, icicle) - scroll;
      if (cssTop > this.height || cssTop + this.row < 0) continue;
      const top = Math.round(cssTop * ratio);
      const above = level < depth[zoom]!;
      const last = start[level + 1]!;
      const run = new Run();
      let drawn = 0; // device pixels of this row that are filled
      for (let i = Math.max(layout.search(level, from), start[level]!); i < last; i++) {
        const node = nodes[i]!;
        const weight = total[node]!;
        const at = x[node]!;
        if (at >= to) break;
        if (at + weight <= from) continue;
        if (weight < least && run.add(at, weight) < least) continue;
        run.clear();
        // whole pixels: crisp, and several frames in one pixel are one rectangle
        const found = matches !== null && matches[node] === 1; // never hidden by a neighbor
        const pixel = Math.round((at - from) * scale);
        const left = at <= from ? 0 : found ? pixel : Math.max(pixel, drawn);
        const end = at + weight >= to ? this.canvas.width : Math.round((at + weight - from) * scale);
        const right = Math.max(end, pixel + 1);
        if (right <= drawn && !found) continue;
        drawn = right;
        let mode = above ? DIM : NORMAL;
        let color = colors.ofName[name[node]!]!;
        if (found) color = colors.palette.length;
        else if (matches) mode = FADED;
        if (count === this.left.length) this.grow();
        this.left[count] = left;
        this.top[count] = top;
        // a gap between neighbors, where there is room for one
        this.wide[count] = right - left > 3 * ratio ? right - left - gap : right - left;
        const key = color * 3 + mode;
        this.key[count] = key;
        counts[key]!++;
        if (right - left > MIN_TEXT * ratio) texts.push(node, count);
        count++;
      }
    }
    this.fill(count, counts, rowHeight, colors.palette, view.theme.match);
    this.write(texts, view, rowHeight);
  }

  private grow(): void {
    for (const field of ["left", "top", "wide"] as const) {
      const bigger = new Float32Array(this[field].length * 2);
      bigger.set(this[field]);
      this[field] = bigger;
    }
    const bigger = new Uint16Array(this.key.length * 2);
    bigger.set(this.key);
    this.key = bigger;
  }

  /** Fills the rectangles color by color, so that the canvas changes its style a few dozen times at most. */
  private fill(count: number, counts: Uint32Array, height: number, palette: string[], match: string): void {
    const starts = new Uint32Array(counts.length + 1);
    for (let key = 0; key < counts.length; key++) starts[key + 1] = starts[key]! + counts[key]!;
    const place = starts.slice();
    const sorted = new Uint32Array(count);
    for (let i = 0; i < count; i++) sorted[place[this.key[i]!]!++] = i;
    const { context, left, top, wide } = this;
    for (let key = 0; key < counts.length; key++) {
      if (counts[key] === 0) continue;
      context.fillStyle = palette[Math.floor(key / 3)] ?? match;
      context.globalAlpha = ALPHA[key % 3]!;
      for (let k = starts[key]!; k < starts[key + 1]!; k++) {
        const i = sorted[k]!;
        context.fillRect(left[i]!, top[i]!, wide[i]!, height);
      }
    }
    context.globalAlpha = 1;
  }

  private write(texts: number[], view: View, height: number): void {
    const { context, ratio } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = FONT;
    context.textBaseline = "middle";
    for (const faded of [false, true]) {
      context.fillStyle = faded ? view.theme.faded : view.theme.text;
      for (let k = 0; k < texts.length; k += 2) {
        const node = texts[k]!;
        const i = texts[k + 1]!;
        if ((this.key[i]! % 3 !== NORMAL) !== faded) continue;
        const text = this.fit(view.names[view.layout.tree.name[node]!]!, this.wide[i]! / ratio - 2 * PAD + 2);
        if (text) context.fillText(text, this.left[i]! / ratio + PAD, (this.top[i]! + height / 2) / ratio + 0.5);
      }
    }
  }

  private advance(character: string): number {
    let width = this.advances.get(character);
    if (width === undefined) {
      width = this.context.measureText(character).width;
      this.advances.set(character, width);
    }
    return width;
  }

  /** The text, cut with an ellipsis to fit into width CSS pixels; "" when not even two letters fit. */
  private fit(text: string, width: number): string {
    const ellipsis = this.advance("…");
    let used = 0;
    let cut = 0; // UTF-16 units that fit together with the ellipsis
    let letters = 0;
    for (const character of text) {
      used += this.advance(character);
      if (used > width) return letters >= 2 ? `${text.slice(0, cut)}…` : "";
      if (used + ellipsis <= width) {
        cut += character.length;
        letters++;
      }
    }
    return text;
  }
}
