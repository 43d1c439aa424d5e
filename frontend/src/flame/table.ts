// The same weights as numbers: a sortable table of functions, for those who want them and for screen readers.

import type { Profile } from "./data";
import { formatShare, formatWeight, shortObject } from "./format";
import type { FunctionRow } from "./tree";

type Key = "name" | "object" | "self" | "total";

const SHOWN = 200;
const COLUMNS: [Key, string, boolean][] = [
  ["self", "Self", true],
  ["total", "Total", true],
  ["name", "Function", false],
  ["object", "Object", false],
];

export class FunctionTable {
  private rows: FunctionRow[] = [];
  private whole = 0;
  private marked: Uint8Array | null = null;
  private key: Key = "self";
  private down = true;
  private readonly body: HTMLTableSectionElement;
  private readonly heads = new Map<Key, HTMLTableCellElement>();

  /** choose is called with a name's index when its function is clicked. */
  constructor(
    table: HTMLTableElement,
    private readonly caption: HTMLElement,
    private readonly profile: Profile,
    choose: (name: number) => void,
  ) {
    const row = table.createTHead().insertRow();
    for (const [key, label, numeric] of COLUMNS) {
      const head = document.createElement("th");
      head.scope = "col";
      head.className = numeric ? "number" : "";
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", () => this.sortBy(key));
      head.append(button);
      row.append(head);
      this.heads.set(key, head);
    }
    this.body = table.createTBody();
    this.body.addEventListener("click", (event) => {
      const button = (event.target as HTMLElement).closest("button");
      if (button) choose(Number(button.dataset["name"]));
    });
  }

  show(rows: FunctionRow[], whole: number): void {
    this.rows = rows;
    this.whole = whole;
    this.fill();
  }

  /** Only the functions whose name is marked; null: all. */
  filter(marked: Uint8Array | null): void {
    if (marked === this.marked) return;
    this.marked = marked;
    this.fill();
  }

  private sortBy(key: Key): void {
    this.down = key === this.key ? !this.down : key === "self" || key === "total";
    this.key = key;
    this.fill();
  }

  private fill(): void {
    const { names, objects } = this.profile;
    const { key, marked } = this;
    const sign = this.down ? -1 : 1;
    const rows = marked ? this.rows.filter((row) => marked[row.name]) : this.rows.slice();
    const text = key === "name" ? names : objects.map(shortObject);
    rows.sort((a, b) => {
      if (key === "self" || key === "total") return sign * (a[key] - b[key]) || b.total - a.total || a.name - b.name;
      const left = text[a.name]!;
      const right = text[b.name]!;
      return left === right ? b.total - a.total || a.name - b.name : (left < right ? -1 : 1) * sign;
    });
    for (const [column, head] of this.heads) {
      if (column === key) head.ariaSort = this.down ? "descending" : "ascending";
      else head.ariaSort = null;
    }
    const lines = rows.slice(0, SHOWN).map((row) => this.line(row));
    this.body.replaceChildren(...lines);
    const cut = rows.length > SHOWN ? `the first ${SHOWN} of ` : "";
    const noun = rows.length === 1 ? "function" : "functions";
    this.caption.textContent = `${cut}${rows.length.toLocaleString("en-US")} ${noun}${marked ? " found" : ""}`;
  }

  private line(row: FunctionRow): HTMLTableRowElement {
    const { names, objects, unit } = this.profile;
    const line = document.createElement("tr");
    for (const weight of [row.self, row.total]) {
      const cell = line.insertCell();
      cell.className = "number";
      cell.textContent = formatShare(weight, this.whole);
      cell.title = formatWeight(weight, unit);
      cell.ariaLabel = `${cell.textContent}, ${cell.title}`;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.dataset["name"] = String(row.name);
    button.textContent = names[row.name]!;
    button.title = `search for ${names[row.name]!.slice(0, 500)}`;
    line.insertCell().append(button);
    const object = line.insertCell();
    object.textContent = shortObject(objects[row.name]!);
    object.title = objects[row.name]!;
    return line;
  }
}
