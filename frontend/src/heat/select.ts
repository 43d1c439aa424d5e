// What a rectangle of cells holds: counts, percentiles, tasks, events, weights of the flame graph.

import type { Heat } from "./data";

/** Cells from left to right and from bottom to top, all four included. */
export interface Rectangle {
  left: number;
  right: number;
  bottom: number;
  top: number;
}

export interface TaskRow {
  task: number;
  count: number;
  sum: number;
  median: number;
  max: number;
}

export interface Selected {
  count: number;
  percentiles: [string, number][];
  tasks: TaskRow[]; // most points first
  events: number[]; // those whose texts are here, in time order
  self: Float64Array; // of each node of the flame graph
}

const PARTS: [string, number][] = [["min", 0], ["p50", 0.5], ["p90", 0.9], ["p99", 0.99], ["p99.9", 0.999], ["max", 1]];

/** The value that so large a part of the points does not exceed (nearest rank); groups in order of value. */
function percentile(heat: Heat, groups: Uint32Array, count: number, part: number): number {
  const rank = Math.max(1, Math.ceil(part * count - 1e-9));
  let seen = 0;
  for (const group of groups) {
    seen += heat.count[group]!;
    if (seen >= rank) return heat.value[group]!;
  }
  return 0;
}

export function inside(heat: Heat, cell: number, box: Rectangle): boolean {
  const row = Math.floor(cell / heat.columns);
  const column = cell - row * heat.columns;
  return column >= box.left && column <= box.right && row >= box.bottom && row <= box.top;
}

export function select(heat: Heat, box: Rectangle, nodes: number): Selected {
  const mask = new Uint8Array(heat.rows * heat.columns);
  for (let row = box.bottom; row <= box.top; row++) {
    mask.fill(1, row * heat.columns + box.left, row * heat.columns + box.right + 1);
  }
  const found: number[] = [];
  let count = 0;
  for (let i = 0; i < heat.groups; i++) {
    if (!mask[heat.cell[i]!]) continue;
    found.push(i);
    count += heat.count[i]!;
  }
  const groups = Uint32Array.from(found).sort((a, b) => heat.value[a]! - heat.value[b]!);
  const byTask = new Map<number, number[]>();
  for (const group of groups) {
    const task = heat.task[group]!;
    const list = byTask.get(task);
    if (list) list.push(group);
    else byTask.set(task, [group]);
  }
  const tasks = [...byTask].map(([task, list]) => {
    const own = Uint32Array.from(list);
    let total = 0;
    let sum = 0;
    for (const group of own) {
      total += heat.count[group]!;
      sum += heat.count[group]! * heat.value[group]!;
    }
    return { task, count: total, sum, median: percentile(heat, own, total, 0.5), max: heat.value[own[own.length - 1]!]! };
  });
  tasks.sort((a, b) => b.count - a.count || b.max - a.max);
  const events: number[] = [];
  for (let i = 0; i < heat.events; i++) if (mask[heat.eventCell[i]!]) events.push(i);
  const self = new Float64Array(nodes);
  for (let i = 0; i < heat.entries; i++) {
    if (mask[heat.cell[heat.group[i]!]!]) self[heat.node[i]!]! += heat.weight[i]!;
  }
  const percentiles = count ? PARTS.map(([name, part]): [string, number] => [name, percentile(heat, groups, count, part)]) : [];
  return { count, percentiles, tasks, events, self };
}
