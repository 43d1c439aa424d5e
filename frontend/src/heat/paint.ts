// Draws the map on a canvas: cells, axes, percentile lines. All sizes are CSS pixels.

import type { Heat, Tick } from "./data";
import type { Rectangle } from "./select";

const LEFT = 76;
const RIGHT = 54;
const TOP = 10;
const BOTTOM = 30;
const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";
export const STEPS = 10;

export interface Theme {
  dark: boolean;
  text: string;
  quiet: string;
  grid: string;
  plot: string;
  lost: string;
  lines: Record<string, string>;
}

/** One hue from one point (step 0) to the fullest cell, further from the page's color with every step. */
export function shadeColor(step: number, dark: boolean): string {
  const part = step / (STEPS - 1);
  const lightness = dark ? 0.4 + 0.55 * part : 0.88 - 0.58 * part;
  const chroma = dark ? 0.1 + 0.03 * Math.sin(Math.PI * part) : 0.045 + 0.105 * Math.sin((Math.PI * (part + 0.25)) / 1.6);
  return `oklch(${lightness.toFixed(3)} ${chroma.toFixed(3)} 250)`;
}

/** Step of a count: 0 for one, then by logarithm. */
export function shadeStep(count: number, most: number): number {
  if (most <= 1) return Math.floor(STEPS / 2);
  return Math.min(STEPS - 1, Math.floor((Math.log(count) / Math.log(most)) * (STEPS - 1) + 1e-9));
}

export class HeatPainter {
  width = 0;
  height = 0;
  private ratio = 1;
  private readonly context: CanvasRenderingContext2D;
  readonly most: number;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly heat: Heat,
  ) {
    this.context = canvas.getContext("2d")!;
    this.most = heat.counts.reduce((most, count) => Math.max(most, count), 0);
  }

  resize(width: number, height: number): void {
    this.ratio = window.devicePixelRatio || 1;
    this.width = width;
    this.height = height;
    this.canvas.width = Math.max(1, Math.round(width * this.ratio));
    this.canvas.height = Math.max(1, Math.round(height * this.ratio));
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
  }

  private x(column: number): number {
    return LEFT + ((this.width - LEFT - RIGHT) * column) / this.heat.columns;
  }

  private y(row: number): number {
    return this.height - BOTTOM - ((this.height - TOP - BOTTOM) * row) / this.heat.rows;
  }

  /** Place of a value in rows from the bottom. */
  private rowOf(value: number): number {
    const { edges } = this.heat;
    let low = 0;
    let high = edges.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (edges[middle]! <= value) low = middle;
      else high = middle;
    }
    const part = (value - edges[low]!) / (edges[high]! - edges[low]!);
    return low + Math.min(1, Math.max(0, part));
  }

  /** Column and row at a point of the canvas; beyond the edges: the nearest, or null if not near. */
  hit(px: number, py: number, near: boolean): [number, number] | null {
    const { columns, rows } = this.heat;
    const column = Math.floor(((px - LEFT) / (this.width - LEFT - RIGHT)) * columns);
    const row = Math.floor(((this.height - BOTTOM - py) / (this.height - TOP - BOTTOM)) * rows);
    if (!near && (column < 0 || column >= columns || row < 0 || row >= rows)) return null;
    return [Math.min(columns - 1, Math.max(0, column)), Math.min(rows - 1, Math.max(0, row))];
  }

  /** Left, top, width and height of a rectangle of cells. */
  place(box: Rectangle): [number, number, number, number] {
    const left = this.x(box.left);
    const top = this.y(box.top + 1);
    return [left, top, this.x(box.right + 1) - left, this.y(box.bottom) - top];
  }

  draw(theme: Theme, shown: Set<string>): void {
    const { context, heat, ratio } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.fillStyle = theme.plot;
    const pixel = (value: number) => Math.round(value * ratio);
    const left = pixel(LEFT);
    const top = pixel(TOP);
    context.fillRect(left, top, pixel(this.width - RIGHT) - left, pixel(this.height - BOTTOM) - top);
    const palette = Array.from({ length: STEPS }, (_, step) => shadeColor(step, theme.dark));
    for (let row = 0; row < heat.rows; row++) {
      const above = pixel(this.y(row + 1));
      const height = Math.max(1, pixel(this.y(row)) - above);
      for (let column = 0; column < heat.columns; column++) {
        const count = heat.counts[row * heat.columns + column]!;
        if (!count) continue;
        const begin = pixel(this.x(column));
        context.fillStyle = palette[shadeStep(count, this.most)]!;
        context.fillRect(begin, above, Math.max(1, pixel(this.x(column + 1)) - begin), height);
      }
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.losses(theme);
    this.axes(theme);
    this.lines(theme, shown);
  }

  private losses(theme: Theme): void {
    const { context, heat } = this;
    context.strokeStyle = theme.lost;
    context.lineWidth = 1;
    heat.lost.forEach((lost, column) => {
      if (!lost) return;
      const [left, right] = [this.x(column), Math.max(this.x(column + 1), this.x(column) + 4)];
      context.save();
      context.beginPath();
      context.rect(left, TOP, right - left, this.height - TOP - BOTTOM);
      context.clip();
      context.beginPath();
      for (let y = TOP - (right - left); y < this.height - BOTTOM; y += 6) {
        context.moveTo(left, y + (right - left));
        context.lineTo(right, y);
      }
      context.stroke();
      context.restore();
    });
  }

  private axes(theme: Theme): void {
    const { context, heat } = this;
    context.font = FONT;
    context.fillStyle = theme.quiet;
    context.strokeStyle = theme.grid;
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    let last = Infinity;
    for (const [place, label] of heat.yTicks) {
      const y = Math.round(this.y(place)) + 0.5;
      if (last - y < 18) continue;
      last = y;
      context.beginPath();
      context.moveTo(LEFT, y);
      context.lineTo(this.width - RIGHT, y);
      context.stroke();
      context.fillText(label.replace(" us", " µs"), LEFT - 8, y);
    }
    context.textBaseline = "alphabetic";
    context.textAlign = "center";
    for (const [place, label] of this.timeTicks()) {
      const x = Math.round(this.x(place)) + 0.5;
      context.beginPath();
      context.moveTo(x, this.height - BOTTOM);
      context.lineTo(x, this.height - BOTTOM + 5);
      context.stroke();
      context.fillText(label.replace(" us", " µs"), x, this.height - BOTTOM + 19);
    }
  }

  /** The most labels that stand apart. */
  private timeTicks(): Tick[] {
    const { context, heat } = this;
    let best: Tick[] = [];
    for (const ticks of heat.xTicks) {
      const widest = ticks.reduce((most, [, label]) => Math.max(most, context.measureText(label).width), 0);
      const apart = ticks.length > 1 ? this.x(ticks[1]![0]) - this.x(ticks[0]![0]) : Infinity;
      if (!best.length || apart > widest + 26) best = ticks;
    }
    return best;
  }

  private lines(theme: Theme, shown: Set<string>): void {
    const { context, heat } = this;
    const labels: [number, string][] = [];
    context.lineJoin = "round";
    for (const [name, values] of Object.entries(heat.lines)) {
      if (!shown.has(name)) continue;
      const path = new Path2D();
      let joined = false;
      let end = NaN;
      values.forEach((value, column) => {
        if (value === null) {
          joined = false;
          return;
        }
        const x = this.x(column + 0.5);
        const y = this.y(this.rowOf(value));
        if (joined) path.lineTo(x, y);
        else path.moveTo(x, y);
        const next = values[column + 1];
        if (!joined && (next === null || next === undefined)) path.lineTo(x + 2, y);
        joined = true;
        end = y;
      });
      context.strokeStyle = theme.plot;
      context.globalAlpha = 0.7;
      context.lineWidth = 3.5;
      context.stroke(path);
      context.globalAlpha = 1;
      context.strokeStyle = theme.lines[name] ?? theme.text;
      context.lineWidth = 1.5;
      context.stroke(path);
      if (!Number.isNaN(end)) labels.push([end, name]);
    }
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.font = `600 ${FONT}`;
    let lowest = Infinity;
    labels.sort((a, b) => b[0] - a[0]);
    labels.forEach(([y, name], place) => {
      lowest = Math.max(Math.min(y, lowest - 14), TOP + 6 + 14 * (labels.length - 1 - place));
      context.fillStyle = theme.lines[name] ?? theme.text;
      context.fillText(name, this.width - RIGHT + 7, lowest);
    });
  }
}
