// The page's data: base64 of raw deflate of (u32 length, JSON header, byte planes of the arrays).
// Written by src/linscope/render/heat_html.py; the two files change together.

import { inflate, Planes } from "../flame/data";

export type Tick = [place: number, label: string];

interface Header {
  what: string;
  unit: string;
  noun: string;
  log: boolean;
  counted: boolean; // counts by bucket, of keys in place of tasks; there are no events
  exact: boolean; // the values of groups are exact, not the low ends of buckets
  perCell: number; // events of at most so many points a cell are in the page; 0: all
  start: string; // ns of the recording's clock at which the first column begins
  step: number; // ns
  columns: number;
  rows: number;
  edges: number[];
  lines: Record<string, (number | null)[]>;
  lineColumns: number; // neighbors that share a value of the lines
  lost: number[];
  xTicks: Tick[][]; // the same axis with ever more labels
  yTicks: Tick[];
  tasks: string[];
  texts: [keys: string[], starts: string[], ends: string[]];
  groups: number;
  events: number;
  entries: number;
  flame: boolean;
  command: string;
}

export interface Heat extends Header {
  cell: Uint32Array; // of each group of points
  value: Float64Array;
  task: Uint32Array;
  count: Uint32Array;
  counts: Float64Array; // of each cell
  eventCell: Uint32Array;
  eventStart: Float64Array; // ns since start
  eventEnd: Float64Array;
  eventValue: Float64Array;
  eventTask: Uint32Array;
  eventCpu: Uint32Array;
  node: Uint32Array; // of each entry: node of the flame graph, group of points, weight
  group: Uint32Array;
  weight: Float64Array;
}

export const NO_CPU = 0xffffffff;

export async function readHeat(base64: string): Promise<Heat> {
  const bytes = await inflate(base64);
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length))) as Header;
  const planes = new Planes(bytes, 4 + length);
  const { groups, events, entries } = header;
  const heat = {
    ...header,
    cell: planes.uint32(groups),
    value: signed(planes, groups),
    task: planes.uint32(groups),
    count: planes.uint32(groups),
    counts: new Float64Array(header.rows * header.columns),
    eventCell: planes.uint32(events),
    eventStart: signed(planes, events),
    eventEnd: signed(planes, events),
    eventValue: planes.weight(events),
    eventTask: planes.uint32(events),
    eventCpu: planes.uint32(events),
    node: planes.uint32(entries),
    group: planes.uint32(entries),
    weight: planes.weight(entries),
  };
  for (let i = 0; i < groups; i++) heat.counts[heat.cell[i]!]! += heat.count[i]!;
  return heat;
}

/** Times before the first column (an interval that began earlier) are below zero: two's complement of 64 bits. */
function signed(planes: Planes, count: number): Float64Array {
  const out = planes.weight(count);
  for (let i = 0; i < count; i++) if (out[i]! >= 2 ** 63) out[i]! -= 2 ** 64;
  return out;
}
