// What a link carries: the view, in the part of the URL behind the #.

import type { ColorBy } from "./color";
import type { Order } from "./tree";

export interface State {
  zoom: string; // hash of the names on the path; "" is the root
  search: string;
  matchCase: boolean;
  icicle: boolean;
  reversed: boolean;
  order: Order;
  color: ColorBy;
  group: string; // "thread:worker"; "" is all
  table: boolean;
}

type Defaults = Pick<State, "icicle" | "reversed">;

/** Keys of the address that belong to what stands beside the flame graph, and stay as they are. */
const FOREIGN = ["select"];

export function parseState(hash: string, defaults: Defaults): State {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  const flag = (key: string, otherwise: boolean) => (fields.has(key) ? fields.get(key) === "1" : otherwise);
  return {
    zoom: fields.get("zoom") ?? "",
    search: fields.get("search") ?? "",
    matchCase: flag("case", false),
    icicle: flag("icicle", defaults.icicle),
    reversed: flag("reversed", defaults.reversed),
    order: fields.get("order") === "weight" ? "weight" : "name",
    color: fields.get("color") === "object" ? "object" : "kind",
    group: fields.get("group") ?? "",
    table: flag("table", false),
  };
}

/** Only what differs from the defaults, so that a plain view has a plain URL; before: the address as it is. */
export function formatState(state: State, defaults: Defaults, before: string): string {
  const fields = new URLSearchParams();
  for (const [key, value] of new URLSearchParams(before.replace(/^#/, ""))) {
    if (FOREIGN.includes(key)) fields.set(key, value);
  }
  if (state.zoom) fields.set("zoom", state.zoom);
  if (state.search) fields.set("search", state.search);
  if (state.matchCase) fields.set("case", "1");
  if (state.icicle !== defaults.icicle) fields.set("icicle", state.icicle ? "1" : "0");
  if (state.reversed !== defaults.reversed) fields.set("reversed", state.reversed ? "1" : "0");
  if (state.order !== "name") fields.set("order", state.order);
  if (state.color !== "kind") fields.set("color", state.color);
  if (state.group) fields.set("group", state.group);
  if (state.table) fields.set("table", "1");
  return fields.toString();
}
