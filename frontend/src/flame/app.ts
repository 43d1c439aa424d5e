// The application: what the reader does changes the state, the state is drawn.

import { type Colors, chooseColors, type ColorBy, KINDS, legend } from "./color";
import { Kind, type Profile, type Split } from "./data";
import { formatShare, formatWeight } from "./format";
import { Painter, type View } from "./paint";
import { formatState, parseState, type State } from "./state";
import { FunctionTable } from "./table";
import { Layout, type Order, rankNames, Tree } from "./tree";

const KIND_LABELS = new Map<number, string>(KINDS);
const WHEEL_CRUMBS = 40;

function element<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}

export class App {
  private state: State;
  private readonly rank: Uint32Array;
  private base: Tree;
  private forward!: Layout; // roots at the root, whatever is shown: self weights mean something only here
  private tree!: Tree;
  private layout!: Layout;
  private colors!: Colors;
  private view!: View;
  private marked: Uint8Array | null = null; // per name: found by the search
  private selected = -1;
  private hovered = -1;
  private readonly dark = matchMedia("(prefers-color-scheme: dark)");
  private readonly stage = element("stage");
  private readonly sizer = element("sizer");
  private readonly canvas = element<HTMLCanvasElement>("picture");
  private readonly painter = new Painter(this.canvas);
  private readonly search = element<HTMLInputElement>("search");
  private readonly table: FunctionTable;

  constructor(private readonly profile: Profile) {
    this.rank = rankNames(profile.names);
    this.base = new Tree(profile.parent, profile.name, profile.self);
    this.state = parseState(location.hash, profile.options);
    this.table = new FunctionTable(element("functions"), element("caption"), profile, (name) =>
      this.searchFor(`^${escapeRegExp(profile.names[name]!)}$`, true),
    );
    this.fillGroups();
    this.connect();
    this.apply();
  }

  /** Draws everything again, synchronously. */
  draw(): void {
    this.painter.draw(this.view, this.stage.scrollTop);
    this.placeMarks();
  }

  /** Nodes of the whole tree. */
  get nodeCount(): number {
    return this.base.count;
  }

  /** Shows the same tree with other weights: those of a selection made elsewhere. */
  reweigh(self: Float64Array): void {
    this.base = this.base.withWeights(self);
    this.state.zoom = "";
    this.apply();
  }

  /** Zooms to a node of the tree shown (0: the whole) and remembers it for the Back button. */
  zoom(node: number): void {
    if (node === this.view.zoom) return;
    this.state.zoom = node > 0 ? this.layout.hash(node, this.profile) : "";
    this.remember("pushState");
    this.selected = node;
    this.zoomed(node);
  }

  // ---- state -> picture

  private remember(how: "pushState" | "replaceState"): void {
    try {
      history[how](null, "", `#${formatState(this.state, this.profile.options, location.hash)}`);
    } catch {
      // inside a notebook's sandboxed frame there is no address to keep the view in
    }
  }

  /** The state changed other than by a zoom: draw it and keep it in the address. */
  private change(change: Partial<State>): void {
    const hash = this.view.zoom > 0 ? this.layout.hash(this.view.zoom, this.profile) : "";
    Object.assign(this.state, { zoom: hash }, change);
    this.apply();
    if (!this.view.zoom) this.state.zoom = "";
    this.remember("replaceState");
  }

  /** Makes tree, layout, colors and picture from the state. */
  private apply(): void {
    const { state, profile } = this;
    const group = this.findGroup();
    if (!group) state.group = "";
    const tree = group ? this.base.withWeights(this.weightsOf(group)) : this.base;
    this.forward = new Layout(tree, state.order, this.rank);
    this.layout = state.reversed ? new Layout(tree.reversed(), state.order, this.rank) : this.forward;
    this.tree = this.layout.tree;
    this.colors = chooseColors(profile, state.color, this.dark.matches);
    this.selected = -1;
    this.hovered = -1;
    this.showControls();
    this.markNames();
    this.showSummary();
    const rows = this.forward.functions(profile.names.length);
    this.table.show(
      rows.filter((row) => profile.kinds[row.name]! > Kind.Group),
      this.tree.total[0]!,
    );
    this.table.filter(this.marked);
    this.view = {
      layout: this.layout,
      names: profile.names,
      colors: this.colors,
      theme: this.theme(),
      icicle: state.icicle,
      zoom: 0,
      matches: null,
    };
    this.showMatches();
    this.fit();
    this.zoomed(state.zoom ? this.layout.find(state.zoom, profile) : 0);
  }

  private zoomed(node: number): void {
    this.view.zoom = this.tree.total[node]! > 0 ? node : 0;
    this.hovered = -1;
    element("tip").hidden = true;
    this.painter.measure(this.view);
    this.sizer.style.height = `${this.painter.contentHeight()}px`;
    // Unzoomed, what lies below the first fork is the same for all samples: begin where the ways part.
    const first = this.view.zoom === 0 ? this.tree.trunk() : this.view.zoom;
    const top = this.painter.levelTop(this.tree.depth[first]!, this.state.icicle);
    const margin = this.painter.row * 3;
    this.stage.scrollTop = this.state.icicle
      ? Math.max(0, top - margin)
      : top + this.painter.row + margin - this.stage.clientHeight;
    this.showPath();
    this.showDetails();
    this.draw();
  }

  private fit(): void {
    const style = getComputedStyle(this.sizer);
    const margins = parseFloat(style.marginLeft) + parseFloat(style.marginRight);
    this.painter.resize(Math.max(60, this.stage.clientWidth - margins), Math.max(60, this.stage.clientHeight));
  }

  private theme(): View["theme"] {
    const style = getComputedStyle(document.documentElement);
    const value = (name: string) => style.getPropertyValue(name).trim();
    return { text: value("--frame-text"), faded: value("--faded-text"), match: value("--match") };
  }

  private findGroup(): [Split, number] | null {
    for (const split of this.profile.splits) {
      if (!this.state.group.startsWith(`${split.title}:`)) continue;
      const label = split.labels.indexOf(this.state.group.slice(split.title.length + 1));
      if (label >= 0) return [split, label];
    }
    return null;
  }

  private weightsOf([split, label]: [Split, number]): Float64Array {
    const self = new Float64Array(this.base.count);
    for (let i = 0; i < split.label.length; i++) {
      if (split.label[i] === label) self[split.node[i]!]! += split.weight[i]!;
    }
    return self;
  }

  private fillGroups(): void {
    const select = element<HTMLSelectElement>("group");
    select.add(new Option("all", ""));
    for (const split of this.profile.splits) {
      const sums = new Float64Array(split.labels.length);
      for (let i = 0; i < split.label.length; i++) sums[split.label[i]!]! += split.weight[i]!;
      const options = document.createElement("optgroup");
      options.label = `by ${split.title}`;
      const order = split.labels.map((_, i) => i).sort((a, b) => sums[b]! - sums[a]! || a - b);
      for (const label of order) {
        const text = `${split.labels[label]!} – ${formatShare(sums[label]!, this.base.total[0]!)}`;
        options.append(new Option(text, `${split.title}:${split.labels[label]!}`));
      }
      select.append(options);
    }
    element("groups").hidden = this.profile.splits.length === 0;
  }

  private showControls(): void {
    const { state } = this;
    for (const key of ["icicle", "reversed"] as const) element(key).ariaPressed = String(state[key]);
    element("case").ariaPressed = String(state.matchCase);
    element<HTMLSelectElement>("order").value = state.order;
    element<HTMLSelectElement>("color").value = state.color;
    element<HTMLSelectElement>("group").value = state.group;
    element("table").ariaExpanded = String(state.table);
    element("panel").hidden = !state.table;
    if (this.search.value !== state.search) this.search.value = state.search;
  }

  private showSummary(): void {
    const { profile } = this;
    const { tree } = this.forward;
    const whole = tree.total[0]!;
    const total = element("total");
    const strong = document.createElement("strong");
    strong.textContent = formatWeight(whole, profile.unit);
    const event = profile.event && profile.event !== profile.unit ? `of ${profile.event}` : "";
    const share = this.state.group ? `${formatShare(whole, this.base.total[0]!)} of all` : "";
    total.replaceChildren(strong, ` ${[event, share].filter(Boolean).join(", ")}`);
    const entries = legend(profile, this.state.color, this.dark.matches, tree.self, tree.name);
    element("legend").replaceChildren(
      ...entries.map((entry) => {
        const item = document.createElement("li");
        const swatch = document.createElement("span");
        swatch.className = "swatch";
        swatch.style.background = entry.color;
        const label = document.createElement("span");
        label.className = "label";
        label.textContent = entry.label;
        label.title = entry.title;
        const part = document.createElement("span");
        part.className = "share";
        part.textContent = formatShare(entry.weight, whole);
        item.append(swatch, label, part);
        return item;
      }),
    );
  }

  private showPath(): void {
    const nodes: number[] = [];
    for (let node = this.view.zoom; node >= 0; node = this.tree.parent[node]!) nodes.push(node);
    nodes.reverse();
    const parts: (HTMLElement | string)[] = [];
    if (nodes.length > 1) {
      const reset = this.crumb("Reset zoom", 0);
      reset.className = "reset";
      parts.push(reset);
    }
    const shown = nodes.length > WHEEL_CRUMBS ? [nodes[0]!, ...nodes.slice(-WHEEL_CRUMBS)] : nodes;
    // the nearest callers matter most: what does not fit is left out in the middle
    const room = Math.max(3, Math.floor(this.painter.width / 130));
    const cut = shown.length > room ? [shown[0]!, -1, ...shown.slice(2 - room)] : shown;
    cut.forEach((node, place) => {
      if (place > 0) parts.push("›");
      if (node < 0) {
        parts.push("\u00a0…\u00a0");
        return;
      }
      const crumb = this.crumb(this.nameOf(node), node);
      if (node === this.view.zoom) {
        crumb.className = "here";
        crumb.ariaCurrent = "true";
      }
      parts.push(crumb);
    });
    element("path").replaceChildren(...parts);
  }

  private crumb(text: string, node: number): HTMLButtonElement {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text.slice(0, 300);
    button.title = text.slice(0, 1000);
    button.addEventListener("click", () => this.zoom(node));
    return button;
  }

  // ---- search

  private searchFor(text: string, matchCase: boolean): void {
    this.state.search = text;
    this.state.matchCase = matchCase;
    this.search.value = text;
    this.showControls();
    this.markNames();
    if (this.state.table) this.table.filter(this.marked); // else when it is opened
    this.showMatches();
    this.remember("replaceState");
    this.draw();
  }

  private markNames(): void {
    const { search, matchCase } = this.state;
    if (!search) {
      this.marked = null;
      return;
    }
    const flags = matchCase ? "" : "i";
    let pattern: RegExp;
    try {
      pattern = new RegExp(search, flags);
    } catch {
      pattern = new RegExp(escapeRegExp(search), flags); // operator+( is a fine thing to look for
    }
    this.marked = Uint8Array.from(this.profile.names, (name) => (pattern.test(name) ? 1 : 0));
  }

  private showMatches(): void {
    const found = element("found");
    if (!this.marked) {
      this.view.matches = null;
      found.replaceChildren();
      return;
    }
    const { nodes, weight: shown, frames } = this.tree.match(this.marked);
    // a reversed tree may not reach the outermost callers: the share is that of whole stacks
    const weight = this.state.reversed ? this.forward.tree.match(this.marked).weight : shown;
    this.view.matches = nodes;
    const share = document.createElement("b");
    share.textContent = formatShare(weight, this.tree.total[0]!);
    const noun = frames === 1 ? "frame" : "frames";
    found.replaceChildren(share, ` matched, in ${frames.toLocaleString("en-US")} ${noun}`);
  }

  // ---- frames

  private nameOf(node: number): string {
    return this.profile.names[this.tree.name[node]!]!;
  }

  private numbersOf(node: number): string[] {
    const { tree, profile } = this;
    const total = tree.total[node]!;
    const parts = [`${formatWeight(total, profile.unit)}, ${formatShare(total, tree.total[0]!)} of all`];
    const above = tree.parent[node]!;
    if (above > 0) {
      const relation = this.state.reversed ? "the function it calls" : "its parent";
      parts.push(`${formatShare(total, tree.total[above]!)} of ${relation}`);
    }
    if (this.state.reversed) return parts; // what ends here in a reversed graph is not used by this function
    const self = tree.self[node]!;
    parts.push(self > 0 ? `self ${formatWeight(self, profile.unit)}, ${formatShare(self, tree.total[0]!)}` : "self 0");
    return parts;
  }

  private objectOf(node: number): string {
    const id = this.tree.name[node]!;
    const kind = this.profile.kinds[id]!;
    const label = kind > Kind.Group ? KIND_LABELS.get(kind) : "";
    return [label, this.profile.objects[id]!, this.profile.lines[id]!].filter(Boolean).join(" · ");
  }

  private showDetails(): void {
    const node = this.hovered >= 0 ? this.hovered : this.selected >= 0 ? this.selected : this.view.zoom;
    element("name").textContent = this.nameOf(node);
    element("object").textContent = this.objectOf(node);
    element("numbers").textContent = this.numbersOf(node).join("  ·  ");
  }

  private placeMarks(): void {
    const place = (id: string, node: number) => {
      const mark = element(id);
      const level = node >= 0 ? this.tree.depth[node]! : -1;
      const [left, width] = node >= 0 ? this.painter.extent(this.view, node) : [0, 0];
      mark.hidden = width <= 0 || level < 0 || level >= this.painter.levels;
      mark.style.left = `${left}px`;
      mark.style.width = `${Math.max(2, width)}px`;
      mark.style.top = `${this.painter.levelTop(level, this.state.icicle)}px`;
      mark.style.height = `${this.painter.row - 1}px`;
    };
    place("hovered", this.hovered);
    place("selected", this.selected);
  }

  private hover(event: MouseEvent): void {
    const box = this.canvas.getBoundingClientRect();
    const node = this.painter.hit(this.view, event.clientX - box.left, event.clientY - box.top + this.stage.scrollTop);
    this.canvas.style.cursor = node >= 0 ? "pointer" : "default";
    if (node !== this.hovered) {
      this.hovered = node;
      this.showDetails();
      this.placeMarks();
    }
    const tip = element("tip");
    tip.hidden = node < 0;
    if (node < 0) return;
    const name = document.createElement("b");
    name.textContent = this.nameOf(node);
    const lines = [this.objectOf(node), ...this.numbersOf(node)].filter(Boolean).map((text) => {
      const line = document.createElement("span");
      line.textContent = text;
      return line;
    });
    tip.replaceChildren(name, ...lines);
    const width = tip.offsetWidth;
    const height = tip.offsetHeight;
    const left = Math.min(event.clientX + 14, innerWidth - width - 8);
    const below = event.clientY + 18;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below + height > innerHeight - 8 ? Math.max(8, event.clientY - height - 12) : below}px`;
  }

  private unhover(): void {
    if (this.hovered < 0) return;
    this.hovered = -1;
    element("tip").hidden = true;
    this.showDetails();
    this.placeMarks();
  }

  /** Selects a frame, brings it into view and says it. */
  private select(node: number): void {
    this.selected = node;
    this.hovered = -1;
    element("tip").hidden = true;
    const top = this.painter.levelTop(this.tree.depth[node]!, this.state.icicle);
    if (top < this.stage.scrollTop) this.stage.scrollTop = top;
    const bottom = top + this.painter.row;
    if (bottom > this.stage.scrollTop + this.stage.clientHeight) {
      this.stage.scrollTop = bottom - this.stage.clientHeight;
    }
    this.showDetails();
    this.draw();
    element("spoken").textContent = [this.nameOf(node), this.objectOf(node), ...this.numbersOf(node)].join(", ");
  }

  /** Moves the selection: towards the leaves (out), the root (in) or along the level. */
  private move(where: "out" | "in" | "left" | "right"): void {
    const { layout, tree, view } = this;
    const { x, nodes, start } = layout;
    const now = this.selected;
    if (now < 0 || this.painter.extent(view, now)[1] <= 0) {
      this.select(view.zoom);
      return;
    }
    const level = tree.depth[now]!;
    if (where === "in") {
      if (now > 0) this.select(tree.parent[now]!);
      return;
    }
    if (where === "out") {
      if (level + 1 >= tree.levels) return;
      let best = -1;
      const from = Math.max(layout.search(level + 1, x[now]!), start[level + 1]!);
      for (let i = from; i < start[level + 2]! && x[nodes[i]!]! < x[now]! + tree.total[now]!; i++) {
        const node = nodes[i]!;
        if (tree.parent[node] !== now || this.painter.extent(view, node)[1] <= 0) continue;
        if (best < 0 || tree.total[node]! > tree.total[best]!) best = node;
      }
      if (best >= 0) this.select(best);
      return;
    }
    const step = where === "left" ? -1 : 1;
    for (let i = layout.search(level, x[now]!) + step; i >= start[level]! && i < start[level + 1]!; i += step) {
      const width = this.painter.extent(view, nodes[i]!)[1];
      if (width <= 0) return;
      if (width >= 0.5) {
        this.select(nodes[i]!);
        return;
      }
    }
  }

  // ---- events

  private connect(): void {
    const { canvas } = this;
    canvas.addEventListener("mousemove", (event) => this.hover(event));
    canvas.addEventListener("mouseleave", () => this.unhover());
    canvas.addEventListener("click", (event) => {
      this.hover(event);
      if (this.hovered >= 0) this.zoom(this.hovered);
    });
    this.stage.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.resized()).observe(this.stage);
    this.dark.addEventListener("change", () => this.change({}));
    addEventListener("popstate", () => {
      this.state = parseState(location.hash, this.profile.options);
      this.apply();
    });
    this.search.addEventListener("input", () => this.searchFor(this.search.value, this.state.matchCase));
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.canvas.focus();
    });
    element("case").addEventListener("click", () => this.searchFor(this.state.search, !this.state.matchCase));
    element("icicle").addEventListener("click", () => this.toggle("icicle"));
    element("reversed").addEventListener("click", () => this.toggle("reversed"));
    element("table").addEventListener("click", () => this.toggle("table"));
    element("help").addEventListener("click", () => this.help());
    element("skip").addEventListener("click", (event) => {
      event.preventDefault();
      if (!this.state.table) this.toggle("table");
      element("functions").querySelector("button")?.focus();
    });
    const choose = (id: string, change: (value: string) => Partial<State>) => {
      const select = element<HTMLSelectElement>(id);
      select.addEventListener("change", () => this.change(change(select.value)));
    };
    choose("order", (value) => ({ order: value as Order }));
    choose("color", (value) => ({ color: value as ColorBy }));
    choose("group", (value) => ({ group: value }));
    addEventListener("keydown", (event) => this.key(event));
  }

  private resized(): void {
    const { width, height } = this.painter;
    this.fit();
    if (this.painter.width === width && this.painter.height === height) {
      this.draw(); // setting the size cleared the bitmap
      return;
    }
    this.zoomed(this.view.zoom);
  }

  private toggle(key: "icicle" | "reversed" | "table"): void {
    this.change({ [key]: !this.state[key] });
  }

  private help(): void {
    element<HTMLDialogElement>("keys").showModal();
  }

  private escape(): void {
    if (this.view.zoom > 0) this.zoom(0);
    else if (this.state.search) this.searchFor("", this.state.matchCase);
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || element<HTMLDialogElement>("keys").open) return;
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    if (event.key === "Escape" && event.target === this.search) {
      event.preventDefault();
      this.searchFor("", this.state.matchCase);
      this.canvas.focus();
      return;
    }
    if (typing) return;
    const onPicture = event.target === this.canvas || event.target === document.body;
    const up = this.state.icicle ? "in" : "out";
    const down = this.state.icicle ? "out" : "in";
    const moves: Record<string, () => void> = {
      ArrowLeft: () => this.move("left"),
      ArrowRight: () => this.move("right"),
      ArrowUp: () => this.move(up),
      ArrowDown: () => this.move(down),
      Enter: () => {
        if (this.selected >= 0) this.zoom(this.selected);
      },
    };
    const anywhere: Record<string, () => void> = {
      Escape: () => this.escape(),
      "/": () => this.search.focus(),
      "?": () => this.help(),
      i: () => this.toggle("icicle"),
      r: () => this.toggle("reversed"),
      t: () => this.toggle("table"),
    };
    const action = anywhere[event.key] ?? (onPicture ? moves[event.key] : undefined);
    if (!action) return;
    event.preventDefault();
    action();
  }
}
