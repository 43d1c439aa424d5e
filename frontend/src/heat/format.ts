// Values and times as people read them.

type Scales = [number, string][];
const TIMES: Scales = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
const BYTES: Scales = [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]];

/** "4.93 µs", "64 KiB", "1,234". */
export function formatValue(value: number, unit: string): string {
  const scales = unit === "ns" ? TIMES : unit === "bytes" ? BYTES : null;
  if (!scales || !value) return `${value.toLocaleString("en-US")}${unit && !scales ? ` ${unit}` : ""}`;
  const [scale, name] = scales.find(([size]) => value >= size) ?? scales[scales.length - 1]!;
  const number = value / scale;
  const digits = number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
  const text = number.toFixed(scale === 1 ? 0 : digits);
  return `${text.includes(".") ? text.replace(/\.?0+$/, "") : text} ${name}`;
}

/** Nanoseconds as seconds with nine digits, as --time and --select take them. */
export function formatClock(ns: bigint): string {
  const sign = ns < 0n ? "-" : "";
  const text = (ns < 0n ? -ns : ns).toString().padStart(10, "0");
  return `${sign}${text.slice(0, -9)}.${text.slice(-9)}`;
}

/** Nanoseconds since the first column as seconds, with digits that fit the step. */
export function formatOffset(ns: number, step: number): string {
  const digits = Math.min(9, Math.max(0, Math.ceil(-Math.log10(step / 1e9)) + 1));
  return `${(ns / 1e9).toFixed(digits)} s`;
}
