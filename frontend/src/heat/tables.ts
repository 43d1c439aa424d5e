// The events and the tasks of a selection, as tables.

import { formatShare } from "../flame/format";
import { type Heat, NO_CPU } from "./data";
import { formatClock, formatValue } from "./format";
import type { Selected } from "./select";

const AT_ONCE = 200;
const TASKS = 500;

function heading(texts: [string, boolean][]): HTMLTableSectionElement {
  const head = document.createElement("thead");
  const row = head.insertRow();
  for (const [text, number] of texts) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = text;
    if (number) cell.className = "number";
    row.append(cell);
  }
  return head;
}

function addCell(row: HTMLTableRowElement, text: string, className = ""): HTMLTableCellElement {
  const cell = row.insertCell();
  cell.textContent = text;
  cell.className = className;
  return cell;
}

/** The raw events, a page of them at a time, by time or by value. */
export class EventTable {
  private order: number[] = [];
  private rows = AT_ONCE;
  private selected!: Selected;
  private readonly body = document.createElement("tbody");
  private readonly by = document.getElementById("events-order") as HTMLSelectElement;
  private readonly more = document.getElementById("events-more")!;

  constructor(private readonly heat: Heat) {
    const { what, texts } = heat;
    const single = !texts[2].length && !texts[0].some(Boolean);
    const columns: [string, boolean][] = [[single ? "time" : "end", true], [what, true], ["task", false], ["CPU", true]];
    if (!single) columns.push(["key", false]);
    columns.push([single ? "event" : "from", false], ...(single ? [] : ([["to", false]] as [string, boolean][])));
    document.getElementById("events-table")!.append(heading(columns), this.body);
    this.by.options[1]!.textContent = `largest ${what} first`;
    this.by.addEventListener("change", () => this.show(this.selected));
    this.more.addEventListener("click", () => {
      const first = this.body.rows.length;
      this.rows += AT_ONCE;
      this.fill();
      this.body.rows[first]?.scrollIntoView({ block: "nearest" });
    });
  }

  show(selected: Selected): void {
    this.selected = selected;
    const { eventValue } = this.heat;
    this.order = selected.events.slice();
    if (this.by.value === "value") this.order.sort((a, b) => eventValue[b]! - eventValue[a]! || a - b);
    this.rows = AT_ONCE;
    this.body.replaceChildren();
    this.fill();
  }

  private fill(): void {
    const { heat, order } = this;
    const single = !heat.texts[2].length && !heat.texts[0].some(Boolean);
    const start = BigInt(heat.start);
    for (const event of order.slice(this.body.rows.length, this.rows)) {
      const row = this.body.insertRow();
      const clock = formatClock(start + BigInt(heat.eventEnd[event]!));
      addCell(row, clock, "number");
      addCell(row, formatValue(heat.eventValue[event]!, heat.unit), "number");
      addCell(row, heat.tasks[heat.eventTask[event]!]!, "task");
      const cpu = heat.eventCpu[event]!;
      addCell(row, cpu === NO_CPU ? "" : String(cpu), "number");
      if (!single) addCell(row, heat.texts[0][event]!);
      addCell(row, heat.texts[1][event]!, "payload");
      if (!single) addCell(row, heat.texts[2][event]!, "payload");
    }
    const { count } = this.selected;
    const all = count.toLocaleString("en-US");
    const here = order.length.toLocaleString("en-US");
    const why = `this page carries ${here} of the ${all} ${heat.noun}, at most ${heat.perCell} of a cell; the command above prints all`;
    const told = order.length < count ? why : `${all} ${heat.noun}`;
    const cut = order.length > this.rows ? `${this.rows.toLocaleString("en-US")} rows shown · ` : "";
    document.getElementById("events-caption")!.textContent = `${cut}${told}`;
    this.more.hidden = order.length <= this.rows;
  }
}

export function showTasks(heat: Heat, selected: Selected): void {
  const table = document.getElementById("tasks-table")!;
  const sums = heat.unit !== "" && heat.what !== "offset" && !heat.counted;
  const columns: [string, boolean][] = [[heat.counted ? "key" : "task", false], [heat.noun, true], ["share", true]];
  if (sums) columns.push(["sum", true]);
  if (heat.what !== "offset") columns.push(["p50", true], ["max", true]);
  const body = document.createElement("tbody");
  for (const row of selected.tasks.slice(0, TASKS)) {
    const line = body.insertRow();
    addCell(line, heat.tasks[row.task]!, "task");
    addCell(line, row.count.toLocaleString("en-US"), "number");
    addCell(line, formatShare(row.count, selected.count), "number");
    if (sums) addCell(line, formatValue(row.sum, heat.unit), "number");
    if (heat.what === "offset") continue;
    addCell(line, formatValue(row.median, heat.unit), "number");
    addCell(line, formatValue(row.max, heat.unit), "number");
  }
  table.replaceChildren(heading(columns), body);
  const count = selected.tasks.length;
  const cut = count > TASKS ? `the first ${TASKS} of ` : "";
  document.getElementById("tasks-caption")!.textContent = `${cut}${count.toLocaleString("en-US")} ${heat.counted ? "key" : "task"}${count === 1 ? "" : "s"}`;
}
