// The map, its selection, and what the selection shows: flame graph, events, tasks.

import type { App } from "../flame/app";
import { formatShare } from "../flame/format";
import type { Heat } from "./data";
import { formatClock, formatOffset, formatValue } from "./format";
import { HeatPainter, shadeColor, STEPS, type Theme } from "./paint";
import { type Rectangle, select, type Selected } from "./select";
import { EventTable, showTasks } from "./tables";

const LINES = ["p50", "p90", "p99", "max"];
const TABS = ["flame", "events", "tasks"] as const;
type Tab = (typeof TABS)[number];

function element<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

export class HeatApp {
  private box: Rectangle | null = null; // null: all
  private selected!: Selected;
  private cursor: [number, number] | null = null; // of the keyboard
  private drag: [number, number] | null = null;
  private tab: Tab;
  private stale = new Set<Tab>();
  private readonly shown = new Set(["p50", "p99"]);
  private readonly canvas = element<HTMLCanvasElement>("heat-picture");
  private readonly stage = element("heat-stage");
  private readonly painter: HeatPainter;
  private readonly events: EventTable;
  private readonly nodes: number;
  private readonly dark = matchMedia("(prefers-color-scheme: dark)");

  constructor(
    private readonly heat: Heat,
    private readonly flame: App | null,
  ) {
    this.painter = new HeatPainter(this.canvas, heat);
    this.events = new EventTable(heat);
    this.nodes = heat.node.reduce((most, node) => Math.max(most, node + 1), 0);
    const counted = heat.counted;
    this.tab = flame ? "flame" : counted ? "tasks" : "events";
    element("tab-flame").hidden = !flame;
    element("tab-events").hidden = counted;
    if (counted) element("tab-tasks").textContent = "Keys";
    element("heat-copy").hidden = element("heat-command").hidden = !heat.command;
    this.makeLines();
    this.connect();
    this.fit();
    this.showTab(this.tab);
    this.choose(this.parse(), false);
  }

  /** Selects a rectangle of cells, or all. */
  choose(box: Rectangle | null, remember = true): void {
    this.box = box;
    const { heat } = this;
    const whole = { left: 0, right: heat.columns - 1, bottom: 0, top: heat.rows - 1 };
    // the flame graph has as many nodes as it has, also some without entries
    const nodes = Math.max(this.nodes, this.flame?.nodeCount ?? 0);
    this.selected = select(heat, box ?? whole, nodes);
    this.stale = new Set(TABS);
    this.showTab(this.tab);
    this.showSummary();
    this.placeBox();
    if (remember) this.remember();
  }

  // ---- selection <-> address

  private parse(): Rectangle | null {
    const text = new URLSearchParams(location.hash.replace(/^#/, "")).get("select") ?? "";
    const parts = text.split("-").map(Number);
    const [left, right, bottom, top] = parts;
    const fine = parts.length === 4 && parts.every((part) => Number.isInteger(part) && part >= 0);
    if (!fine || left! > right! || bottom! > top! || right! >= this.heat.columns || top! >= this.heat.rows) return null;
    return { left: left!, right: right!, bottom: bottom!, top: top! };
  }

  private remember(): void {
    const fields = new URLSearchParams(location.hash.replace(/^#/, ""));
    const { box } = this;
    if (box) fields.set("select", [box.left, box.right, box.bottom, box.top].join("-"));
    else fields.delete("select");
    try {
      history.replaceState(null, "", `#${fields.toString()}`);
    } catch {
      // inside a notebook's sandboxed frame there is no address to keep the view in
    }
  }

  // ---- picture

  private theme(): Theme {
    const style = getComputedStyle(document.documentElement);
    const value = (name: string) => style.getPropertyValue(name).trim();
    const lines = Object.fromEntries(LINES.map((name) => [name, value(`--line-${name}`)]));
    return {
      dark: this.dark.matches, text: value("--text"), quiet: value("--quiet"), grid: value("--grid"),
      plot: value("--plot"), lost: value("--lost"), lines,
    };
  }

  private fit(): void {
    const width = Math.max(220, this.stage.clientWidth);
    this.painter.resize(width, this.stage.clientHeight);
    this.painter.draw(this.theme(), this.shown);
    this.placeBox();
    this.showScale();
  }

  private makeLines(): void {
    const names = Object.keys(this.heat.lines);
    element("heat-lines").replaceChildren(
      ...names.map((name) => {
        const button = document.createElement("button");
        button.type = "button";
        button.className = `line-${name}`;
        button.textContent = name;
        button.title = `${name} of each column`;
        button.ariaPressed = String(this.shown.has(name));
        button.addEventListener("click", () => {
          if (!this.shown.delete(name)) this.shown.add(name);
          button.ariaPressed = String(this.shown.has(name));
          this.painter.draw(this.theme(), this.shown);
        });
        return button;
      }),
    );
  }

  private showScale(): void {
    const swatches = Array.from({ length: STEPS }, (_, step) => {
      const swatch = document.createElement("span");
      swatch.style.background = shadeColor(step, this.dark.matches);
      return swatch;
    });
    const most = `${this.painter.most.toLocaleString("en-US")} ${this.heat.noun} a cell`;
    element("heat-scale").replaceChildren("1 ", ...swatches, ` ${most}`);
  }

  private placeBox(): void {
    const mark = element("heat-box");
    mark.hidden = !this.box;
    if (this.box) this.placeAt(mark, this.box);
    const cursor = element("heat-cursor");
    cursor.hidden = !this.cursor;
    if (this.cursor) {
      const [column, row] = this.cursor;
      this.placeAt(cursor, { left: column, right: column, bottom: row, top: row });
    }
  }

  private placeAt(mark: HTMLElement, box: Rectangle): void {
    const [left, top, width, height] = this.painter.place(box);
    Object.assign(mark.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
  }

  // ---- numbers

  private spans(box: Rectangle): [string, string] {
    const { heat } = this;
    const time = (column: number) => formatOffset(column * heat.step, heat.step);
    const value = (row: number) => formatValue(heat.edges[row]!, heat.unit);
    return [`${time(box.left)} – ${time(box.right + 1)}`, `${value(box.bottom)} – ${value(box.top + 1)}`];
  }

  private showSummary(): void {
    const { heat, selected, box } = this;
    const whole = heat.counts.reduce((sum, count) => sum + count, 0);
    const strong = document.createElement("strong");
    strong.textContent = `${selected.count.toLocaleString("en-US")} ${heat.noun}`;
    const parts = box ? [formatShare(selected.count, whole), ...this.spans(box)] : ["all of them"];
    element("heat-count").replaceChildren(strong, ` · ${parts.join(" · ")}`);
    const approximate = heat.exact ? "" : "≈ ";
    element("heat-percentiles").replaceChildren(
      ...(Object.keys(heat.lines).length ? selected.percentiles : []).flatMap(([name, value]) => {
        const item = document.createElement("li");
        const label = document.createElement("span");
        label.textContent = name;
        item.append(label, ` ${approximate}${formatValue(value, heat.unit)}`);
        return [item];
      }),
    );
    element("heat-clear").hidden = !box;
    element("heat-command").textContent = this.command();
    element("heat-how").hidden = !!box;
    element("heat-line").hidden = !box;
    element("heat-spoken").textContent = `selected: ${strong.textContent}, ${parts.join(", ")}`;
  }

  /** The command line that prints the events of the selection. */
  private command(): string {
    const { heat, box } = this;
    if (!box) return heat.command;
    const start = BigInt(heat.start);
    const time = (column: number) => formatClock(start + BigInt(column) * BigInt(heat.step));
    return `${heat.command} --select ${time(box.left)},${time(box.right + 1)},${heat.edges[box.bottom]!},${heat.edges[box.top + 1]!}`;
  }

  private showTab(tab: Tab): void {
    this.tab = tab;
    for (const name of TABS) {
      const button = element(`tab-${name}`);
      button.ariaSelected = String(name === tab);
      button.tabIndex = name === tab ? 0 : -1;
      element(`panel-${name}`).hidden = name !== tab;
    }
    if (!this.stale.delete(tab)) return;
    if (tab === "flame") this.flame?.reweigh(this.selected.self);
    else if (tab === "events") this.events.show(this.selected);
    else showTasks(this.heat, this.selected);
  }

  private hover(event: MouseEvent): void {
    const box = this.canvas.getBoundingClientRect();
    const cell = this.painter.hit(event.clientX - box.left, event.clientY - box.top, false);
    const tip = element("heat-tip");
    tip.hidden = !cell;
    this.canvas.style.cursor = cell ? "crosshair" : "default";
    if (!cell) return;
    const lines = this.describe(cell);
    tip.replaceChildren(
      ...lines.map((text, place) => {
        const line = document.createElement(place ? "span" : "b");
        line.textContent = text;
        return line;
      }),
    );
    const left = Math.min(event.clientX + 16, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 18;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below + tip.offsetHeight > innerHeight - 8 ? Math.max(8, event.clientY - tip.offsetHeight - 12) : below}px`;
  }

  private describe([column, row]: [number, number]): string[] {
    const { heat } = this;
    const count = heat.counts[row * heat.columns + column]!;
    let all = 0;
    let below = 0;
    for (let r = 0; r < heat.rows; r++) {
      const here = heat.counts[r * heat.columns + column]!;
      all += here;
      if (r <= row) below += here;
    }
    const [time, value] = this.spans({ left: column, right: column, bottom: row, top: row });
    const lines = [`${count.toLocaleString("en-US")} ${heat.noun}`, `${value} ${heat.what}`, time];
    if (all) lines.push(`${formatShare(count, all)} of the column, ${formatShare(below, all)} up to here`);
    const percentiles = Object.entries(heat.lines)
      .filter(([, values]) => values[column] !== null)
      .map(([name, values]) => `${name} ${formatValue(values[column]!, heat.unit)}`);
    if (percentiles.length) lines.push(`${heat.lineColumns > 1 ? `${heat.lineColumns} columns` : "column"}: ${percentiles.join(", ")}`);
    if (heat.lost[column]) lines.push(`${heat.lost[column]!.toLocaleString("en-US")} events were lost here`);
    return lines;
  }

  // ---- events

  private connect(): void {
    const { canvas } = this;
    canvas.addEventListener("pointermove", (event) => {
      this.hover(event);
      if (this.drag) this.extend(event);
    });
    canvas.addEventListener("pointerleave", () => (element("heat-tip").hidden = true));
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.drag = this.at(event, false);
      if (!this.drag) return;
      canvas.setPointerCapture(event.pointerId);
      this.cursor = null;
      this.extend(event);
    });
    const end = (event: PointerEvent) => {
      if (!this.drag) return;
      this.extend(event);
      this.drag = null;
      this.choose(this.box);
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", () => (this.drag = null));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => {
      this.cursor = null;
      this.placeBox();
    });
    element("heat-clear").addEventListener("click", () => this.choose(null));
    element("heat-copy").addEventListener("click", () => void navigator.clipboard?.writeText(this.command()));
    for (const name of TABS) {
      const button = element(`tab-${name}`);
      button.addEventListener("click", () => this.showTab(name));
      button.addEventListener("keydown", (event) => {
        const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
        if (!step) return;
        event.preventDefault();
        const there = TABS.filter((each) => !element(`tab-${each}`).hidden);
        const next = there[(there.indexOf(name) + step + there.length) % there.length]!;
        this.showTab(next);
        element(`tab-${next}`).focus();
      });
    }
    new ResizeObserver(() => this.fit()).observe(this.stage);
    this.dark.addEventListener("change", () => this.fit());
    addEventListener("hashchange", () => this.choose(this.parse(), false));
  }

  private at(event: MouseEvent, near: boolean): [number, number] | null {
    const box = this.canvas.getBoundingClientRect();
    return this.painter.hit(event.clientX - box.left, event.clientY - box.top, near);
  }

  private extend(event: MouseEvent): void {
    this.box = span(this.drag!, this.at(event, true)!);
    this.placeBox();
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps: Record<string, [number, number]> = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
    };
    const step = steps[event.key];
    if (step) {
      const { columns, rows } = this.heat;
      const before = this.cursor;
      const [column, row] = before ?? [0, 0];
      const limit = (value: number, count: number) => Math.min(count - 1, Math.max(0, value));
      this.cursor = before ? [limit(column + step[0], columns), limit(row + step[1], rows)] : [0, 0];
      if (event.shiftKey && before) {
        this.anchor ??= before;
        this.choose(span(this.anchor, this.cursor));
      } else {
        this.anchor = null;
        element("heat-spoken").textContent = this.describe(this.cursor).join(", ");
      }
      this.placeBox();
    } else if (event.key === "Enter" && this.cursor) {
      this.choose(span(this.cursor, this.cursor));
    } else if (event.key === "Escape") {
      this.anchor = null;
      this.choose(null);
    } else return;
    event.preventDefault();
    event.stopPropagation(); // the flame graph has the same keys
  }

  private anchor: [number, number] | null = null;
}

function span(a: [number, number], b: [number, number]): Rectangle {
  return { left: Math.min(a[0], b[0]), right: Math.max(a[0], b[0]), bottom: Math.min(a[1], b[1]), top: Math.max(a[1], b[1]) };
}
