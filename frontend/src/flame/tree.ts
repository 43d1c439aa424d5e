// A weighted call tree in flat typed arrays, and its layout in levels. Parents come before their children.

import type { Profile } from "./data";

export type Order = "name" | "weight";

/** A reversed tree that has so many nodes divides only what has more than REVERSED_SHARE of the whole ... */
const REVERSED_MANY = 300_000;
const REVERSED_SHARE = 1 / 20000;
/** ... and one with so many nodes nothing at all. */
const REVERSED_MOST = 2_000_000;

export interface FunctionRow {
  name: number;
  self: number;
  total: number; // with everything called from it; recursion counts once
}

export class Tree {
  readonly count: number;
  readonly total: Float64Array;
  readonly depth: Int32Array;
  readonly levels: number;

  constructor(
    readonly parent: Int32Array,
    readonly name: Uint32Array,
    readonly self: Float64Array,
  ) {
    const count = parent.length;
    this.count = count;
    this.total = Float64Array.from(self);
    this.depth = new Int32Array(count);
    let deepest = 0;
    for (let i = count - 1; i > 0; i--) this.total[parent[i]!]! += this.total[i]!;
    for (let i = 1; i < count; i++) {
      const depth = this.depth[parent[i]!]! + 1;
      this.depth[i] = depth;
      if (depth > deepest && this.total[i]! > 0) deepest = depth;
    }
    this.levels = deepest + 1;
  }

  /** The last node on the way from the root that nearly all of the weight takes. */
  trunk(): number {
    let node = 0;
    for (let i = 1; i < this.count; i++) {
      if (this.parent[i] === node && this.total[i]! >= 0.9 * this.total[0]!) node = i;
    }
    return node;
  }

  /** The same tree with other weights: those of one thread, process or CPU. */
  withWeights(self: Float64Array): Tree {
    return new Tree(this.parent, this.name, self);
  }

  /** Merged from the leaves: below the root the functions that used the weight, below these their callers. */
  reversed(): Tree {
    const { parent, name, self, total } = this;
    let cursor: number[] = [];
    let group: number[] = [];
    const weight: number[] = [];
    for (let i = 1; i < this.count; i++) {
      if (self[i]! > 0) {
        cursor.push(i);
        group.push(0);
        weight.push(self[i]!);
      }
    }
    const parents = [-1];
    const names = [name[0]!];
    const selfs = [self[0]!];
    const sums: number[] = [total[0]!];
    let stacks = cursor.length;
    const found = new Map<number, number>();
    const distinct = name.reduce((most, id) => Math.max(most, id), 0) + 1;
    while (stacks > 0) {
      found.clear();
      for (let i = 0; i < stacks; i++) {
        const key = group[i]! * distinct + name[cursor[i]!]!;
        let node = found.get(key);
        if (node === undefined) {
          node = parents.length;
          found.set(key, node);
          parents.push(group[i]!);
          names.push(name[cursor[i]!]!);
          selfs.push(0);
          sums.push(0);
        }
        group[i] = node;
        sums[node]! += weight[i]!;
      }
      let kept = 0;
      const count = parents.length;
      const floor = count > REVERSED_MOST ? Infinity : count > REVERSED_MANY ? total[0]! * REVERSED_SHARE : 0;
      for (let i = 0; i < stacks; i++) {
        const node = group[i]!;
        const above = parent[cursor[i]!]!;
        if (above <= 0 || sums[node]! < floor) {
          selfs[node]! += weight[i]!;
          continue;
        }
        cursor[kept] = above;
        group[kept] = node;
        weight[kept] = weight[i]!;
        kept++;
      }
      stacks = kept;
    }
    return new Tree(Int32Array.from(parents), Uint32Array.from(names), Float64Array.from(selfs));
  }

  /** Total weight of the frames whose name is marked, each stack counted once; per-node marks as a by-product. */
  match(marked: Uint8Array): { nodes: Uint8Array; weight: number; frames: number } {
    const nodes = new Uint8Array(this.count); // bit 0: matches; bit 1: an ancestor matches
    let weight = 0;
    let frames = 0;
    for (let i = 0; i < this.count; i++) {
      const above = i > 0 && nodes[this.parent[i]!]! ? 2 : 0;
      const own = marked[this.name[i]!]! && this.total[i]! > 0 ? 1 : 0;
      nodes[i] = above | own;
      if (own) {
        frames++;
        if (!above) weight += this.total[i]!;
      }
    }
    for (let i = 0; i < this.count; i++) nodes[i]! &= 1;
    return { nodes, weight, frames };
  }
}

/** A tree drawn in one order: x in weight units; per level the nodes from left to right. */
export class Layout {
  readonly x: Float64Array;
  readonly nodes: Int32Array; // level after level, left to right, nodes of weight 0 left out
  readonly start: Int32Array; // level l is nodes[start[l] .. start[l + 1]]
  readonly preorder: Int32Array;
  private hashes: Float64Array | null = null;

  constructor(
    readonly tree: Tree,
    order: Order,
    rank: Uint32Array,
  ) {
    const { count, parent, name, total, depth } = tree;
    const sorted = order === "name" ? byRank(name, rank) : byWeight(total);
    // children of one parent, in drawing order, as linked lists
    const first = new Int32Array(count).fill(-1);
    const next = new Int32Array(count).fill(-1);
    for (let k = sorted.length - 1; k >= 0; k--) {
      const node = sorted[k]!;
      if (node === 0 || total[node]! <= 0) continue;
      next[node] = first[parent[node]!]!;
      first[parent[node]!] = node;
    }
    this.x = new Float64Array(count);
    const cursor = new Float64Array(count);
    const preorder = new Int32Array(count);
    const stack = new Int32Array(count + 1);
    this.start = new Int32Array(tree.levels + 1);
    let height = 1;
    let visited = 0;
    while (height > 0) {
      const node = stack[--height]!;
      preorder[visited++] = node;
      this.start[depth[node]! + 1]!++;
      if (node > 0) {
        const above = parent[node]!;
        this.x[node] = cursor[above]!;
        cursor[above]! += total[node]!;
        cursor[node] = this.x[node]!;
        if (next[node]! >= 0) stack[height++] = next[node]!;
      }
      if (first[node]! >= 0) stack[height++] = first[node]!;
    }
    this.preorder = preorder.subarray(0, visited);
    for (let level = 0; level < tree.levels; level++) this.start[level + 1]! += this.start[level]!;
    const fill = this.start.slice();
    this.nodes = new Int32Array(visited);
    for (let k = 0; k < visited; k++) this.nodes[fill[depth[preorder[k]!]!]!++] = preorder[k]!;
  }

  /** Index into nodes of the last frame of the level that begins at or before x; -1 if none does. */
  search(level: number, x: number): number {
    let low = this.start[level]!;
    let high = this.start[level + 1]!;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.x[this.nodes[middle]!]! <= x) low = middle + 1;
      else high = middle;
    }
    return low > this.start[level]! ? low - 1 : -1;
  }

  /** The frame of the level at x, or -1. */
  hit(level: number, x: number): number {
    if (level < 0 || level >= this.tree.levels) return -1;
    const index = this.search(level, x);
    if (index < 0) return -1;
    const node = this.nodes[index]!;
    return x < this.x[node]! + this.tree.total[node]! ? node : -1;
  }

  /** Self and total weight of each function that occurs; recursive calls count once. */
  functions(names: number): FunctionRow[] {
    const { name, self, total, depth } = this.tree;
    const selfs = new Float64Array(names);
    const totals = new Float64Array(names);
    const open = new Int32Array(names);
    const path: number[] = [];
    for (let k = 0; k < this.preorder.length; k++) {
      const node = this.preorder[k]!;
      while (path.length > depth[node]!) open[path.pop()!]!--;
      const id = name[node]!;
      selfs[id]! += self[node]!;
      if (open[id] === 0) totals[id]! += total[node]!;
      open[id]!++;
      path.push(id);
    }
    const rows: FunctionRow[] = [];
    for (let id = 0; id < names; id++) {
      if (totals[id]! > 0) rows.push({ name: id, self: selfs[id]!, total: totals[id]! });
    }
    return rows;
  }

  /** Node with this hash of the names on its path, or 0 (the root). */
  find(hash: string, profile: Profile): number {
    const wanted = parseInt(hash, 16);
    const hashes = this.pathHashes(profile);
    const node = hashes.indexOf(wanted);
    return node > 0 ? node : 0;
  }

  /** Names a node by the names on its path, so that a link still fits when the page is made again. */
  hash(node: number, profile: Profile): string {
    return this.pathHashes(profile)[node]!.toString(16);
  }

  private pathHashes(profile: Profile): Float64Array {
    if (this.hashes) return this.hashes;
    const ofName = profile.names.map(hashText);
    const { parent, name, count } = this.tree;
    const hashes = new Float64Array(count);
    for (let i = 1; i < count; i++) {
      const above = hashes[parent[i]!]!;
      const own = ofName[name[i]!]!;
      const low = mix(above ^ own);
      const high = mix((above / 4294967296) ^ Math.imul(own, 0x9e3779b1)) & 0xfffff;
      hashes[i] = high * 4294967296 + low;
    }
    this.hashes = hashes;
    return hashes;
  }
}

function byRank(name: Uint32Array, rank: Uint32Array): Int32Array {
  const start = new Uint32Array(rank.length + 1);
  for (const id of name) start[rank[id]! + 1]!++;
  for (let i = 0; i < rank.length; i++) start[i + 1]! += start[i]!;
  const sorted = new Int32Array(name.length);
  for (let i = 0; i < name.length; i++) sorted[start[rank[name[i]!]!]!++] = i;
  return sorted;
}

function byWeight(total: Float64Array): Int32Array {
  const sorted = new Int32Array(total.length);
  for (let i = 0; i < sorted.length; i++) sorted[i] = i;
  return sorted.sort((a, b) => total[b]! - total[a]! || a - b);
}

/** Alphabetical place of each name. */
export function rankNames(names: string[]): Uint32Array {
  const order = names.map((_, i) => i);
  order.sort((a, b) => (names[a]! < names[b]! ? -1 : names[a]! > names[b]! ? 1 : a - b));
  const rank = new Uint32Array(names.length);
  order.forEach((id, place) => (rank[id] = place));
  return rank;
}

/** 32-bit FNV-1a over UTF-16 units, mixed once more; stable across pages and runs. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return mix(hash);
}

function mix(value: number): number {
  let hash = value | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b);
  hash = Math.imul(hash ^ (hash >>> 15), 0x45d9f3b);
  return (hash ^ (hash >>> 16)) >>> 0;
}
