// The page's data: base64 of raw deflate of (u32 length, JSON header, byte planes of the arrays).
// Written by src/linscope/render/flame_html.py; the two files change together.

/** What a frame is; the numbers are those of picture/flame_graph.py. */
export const enum Kind {
  Root,
  Group,
  Kernel,
  Native,
  Inlined,
  Jit,
  Python,
  Unknown,
}

/** The weights divided by thread, process or CPU: weight[i] of node[i] belongs to labels[label[i]]. */
export interface Split {
  title: string;
  labels: string[];
  node: Uint32Array;
  label: Uint32Array;
  weight: Float64Array;
}

export interface Profile {
  title: string;
  unit: string;
  event: string;
  names: string[];
  objects: string[]; // per name: object (DSO, module, script)
  lines: string[]; // per name: file:line, or ""
  kinds: Uint8Array;
  parent: Int32Array;
  name: Uint32Array;
  self: Float64Array;
  splits: Split[];
  options: { icicle: boolean; reversed: boolean };
}

interface Header {
  title: string;
  unit: string;
  event: string;
  names: string[];
  details: string[];
  kinds: number[];
  nodes: number;
  splits: { title: string; labels: string[]; entries: number }[];
  options: { icicle: boolean; reversed: boolean };
}

export async function inflate(base64: string): Promise<Uint8Array> {
  const text = atob(base64);
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Reads the arrays one after the other; each is stored as byte planes (all lowest bytes first). */
export class Planes {
  constructor(
    private readonly bytes: Uint8Array,
    private at: number,
  ) {}

  uint32(count: number): Uint32Array {
    const out = new Uint32Array(count);
    for (let shift = 0; shift < 32; shift += 8) {
      for (let i = 0; i < count; i++) out[i]! |= this.bytes[this.at + i]! << shift;
      this.at += count;
    }
    return out;
  }

  /** int64 >= 0; exact up to 2**53. */
  weight(count: number): Float64Array {
    const low = this.uint32(count);
    const high = this.uint32(count);
    const out = new Float64Array(count);
    for (let i = 0; i < count; i++) out[i] = high[i]! * 4294967296 + low[i]!;
    return out;
  }
}

export async function readProfile(base64: string): Promise<Profile> {
  const bytes = await inflate(base64);
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length))) as Header;
  const planes = new Planes(bytes, 4 + length);
  const up = planes.uint32(header.nodes); // distance back to the parent; 0 for the root
  const parent = new Int32Array(header.nodes);
  for (let i = 1; i < parent.length; i++) parent[i] = i - up[i]!;
  parent[0] = -1;
  const name = planes.uint32(header.nodes);
  const self = planes.weight(header.nodes);
  const splits = header.splits.map(({ title, labels, entries }) => ({
    title,
    labels,
    node: planes.uint32(entries),
    label: planes.uint32(entries),
    weight: planes.weight(entries),
  }));
  const cut = header.details.map((detail) => detail.split("\t", 2));
  return {
    title: header.title,
    unit: header.unit,
    event: header.event,
    names: header.names,
    objects: cut.map((parts) => parts[0] ?? ""),
    lines: cut.map((parts) => parts[1] ?? ""),
    kinds: Uint8Array.from(header.kinds),
    parent,
    name,
    self,
    splits,
    options: header.options,
  };
}
