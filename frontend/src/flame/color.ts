// Colors: one hue per kind (kinds also differ in lightness, so that they stay apart for color-blind eyes),
// and inside a kind a small shift that is stable per name, so that neighbors can be told apart.

import { Kind, type Profile } from "./data";
import { shortObject } from "./format";
import { hashText } from "./tree";

export type ColorBy = "kind" | "object";

/** Order of the legend. */
export const KINDS: [Kind, string][] = [
  [Kind.Kernel, "kernel"],
  [Kind.Native, "native"],
  [Kind.Inlined, "inlined"],
  [Kind.Jit, "JIT"],
  [Kind.Python, "Python"],
  [Kind.Unknown, "unknown"],
  [Kind.Group, "process, thread"],
  [Kind.Root, "root"],
];

const VARIANTS = 8;

// OKLCH lightness, chroma, hue; lightness is lowered a little in the dark theme.
const OF_KIND: Record<number, [number, number, number]> = {
  [Kind.Root]: [0.87, 0.012, 250],
  [Kind.Group]: [0.83, 0.025, 250],
  [Kind.Kernel]: [0.7, 0.135, 32],
  [Kind.Native]: [0.83, 0.115, 76],
  [Kind.Inlined]: [0.92, 0.095, 102],
  [Kind.Jit]: [0.68, 0.105, 318],
  [Kind.Python]: [0.77, 0.095, 240],
  [Kind.Unknown]: [0.79, 0.006, 250],
};

const OBJECT_HUES: [number, number, number][] = [
  [0.81, 0.115, 70],
  [0.75, 0.095, 240],
  [0.68, 0.13, 30],
  [0.85, 0.095, 165],
  [0.69, 0.105, 315],
  [0.9, 0.105, 105],
  [0.72, 0.085, 195],
  [0.83, 0.075, 345],
  [0.68, 0.1, 275],
  [0.74, 0.115, 130],
];

export interface LegendEntry {
  label: string;
  title: string; // the whole path of an object
  color: string;
  weight: number;
}

/** Colors of all names in one theme: names index palette. */
export interface Colors {
  palette: string[];
  ofName: Uint16Array;
}

function css([lightness, chroma, hue]: [number, number, number], variant: number, dark: boolean): string {
  const offset = variant / (VARIANTS - 1) - 0.5;
  const shade = lightness + offset * 0.05 - (dark ? 0.04 : 0);
  const turn = hue + offset * (chroma > 0.02 ? 14 : 0);
  return `oklch(${shade.toFixed(3)} ${chroma.toFixed(3)} ${turn.toFixed(1)})`;
}

/** Objects, heaviest self weight first. */
function rankObjects(profile: Profile, self: Float64Array, name: Uint32Array): [string, number][] {
  const weights = new Map<string, number>();
  for (let i = 0; i < name.length; i++) {
    const id = name[i]!;
    if (self[i]! <= 0 || profile.kinds[id]! <= Kind.Group) continue;
    const object = profile.objects[id]!;
    weights.set(object, (weights.get(object) ?? 0) + self[i]!);
  }
  return [...weights].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
}

/** Colors of the frames. The hues of objects follow the whole profile, so that choosing a thread keeps them. */
export function chooseColors(profile: Profile, by: ColorBy, dark: boolean): Colors {
  const bases: [number, number, number][] = KINDS.map(() => [0, 0, 0]);
  for (const [kind] of KINDS) bases[kind] = OF_KIND[kind]!;
  const ofObject = new Map<string, number>();
  if (by === "object") {
    rankObjects(profile, profile.self, profile.name)
      .slice(0, OBJECT_HUES.length)
      .forEach(([object], place) => {
        ofObject.set(object, bases.length);
        bases.push(OBJECT_HUES[place]!);
      });
  }
  const palette = bases.flatMap((base) => Array.from({ length: VARIANTS }, (_, v) => css(base, v, dark)));
  const ofName = new Uint16Array(profile.names.length);
  profile.names.forEach((text, id) => {
    const kind = profile.kinds[id]!;
    let base = kind;
    if (by === "object" && kind > Kind.Group) base = ofObject.get(profile.objects[id]!) ?? Kind.Unknown;
    ofName[id] = base * VARIANTS + (kind === Kind.Root ? 3 : hashText(text) % VARIANTS);
  });
  return { palette, ofName };
}

/** What the colors mean, with the self weight behind each; self and name are those of the tree shown. */
export function legend(
  profile: Profile,
  by: ColorBy,
  dark: boolean,
  self: Float64Array,
  name: Uint32Array,
): LegendEntry[] {
  if (by === "kind") {
    const weights = new Float64Array(KINDS.length);
    for (let i = 0; i < name.length; i++) weights[profile.kinds[name[i]!]!]! += self[i]!;
    return KINDS.filter(([kind]) => weights[kind]! > 0 && kind > Kind.Group).map(([kind, label]) => ({
      label,
      title: "",
      color: css(OF_KIND[kind]!, 3, dark),
      weight: weights[kind]!,
    }));
  }
  const now = new Map(rankObjects(profile, self, name));
  const entries: LegendEntry[] = [];
  let rest = 0;
  rankObjects(profile, profile.self, profile.name).forEach(([object], place) => {
    const weight = now.get(object) ?? 0;
    const base = OBJECT_HUES[place];
    if (!base) rest += weight;
    else if (weight > 0) entries.push({ label: shortObject(object) || "no object", title: object, color: css(base, 3, dark), weight });
  });
  if (rest > 0) entries.push({ label: "others", title: "", color: css(OF_KIND[Kind.Unknown]!, 3, dark), weight: rest });
  return entries;
}
