// Numbers as people read them.

const SCALES: Record<string, [number, string][]> = {
  ns: [
    [1e9, "s"],
    [1e6, "ms"],
    [1e3, "µs"],
    [1, "ns"],
  ],
};
const COUNTS: [number, string][] = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
];

/** "1,234 samples", "3.21 s", "4.56 G cycles". */
export function formatWeight(weight: number, unit: string): string {
  const scales = SCALES[unit];
  if (scales) {
    const [scale, suffix] = scales.find(([size]) => weight >= size) ?? [1, unit];
    return `${scale === 1 ? weight : (weight / scale).toFixed(2)} ${suffix}`;
  }
  const big = weight >= 1e7 ? COUNTS.find(([size]) => weight >= size) : undefined;
  const number = big ? `${(weight / big[0]).toFixed(2)} ${big[1]}` : weight.toLocaleString("en-US");
  return `${number} ${weight === 1 && unit === "samples" ? "sample" : unit}`;
}

/** "libc.so.6" of "/usr/lib/libc.so.6": what fits into a table; the whole path is its tooltip. */
export function shortObject(object: string): string {
  return object.slice(object.lastIndexOf("/") + 1) || object;
}

/** "12.3 %"; "<0.01 %" rather than a zero that is not one. */
export function formatShare(part: number, whole: number): string {
  if (whole <= 0 || part <= 0) return "0 %";
  const percent = (100 * part) / whole;
  if (percent < 0.01) return "<0.01 %";
  if (percent >= 99.995) return "100 %";
  return `${percent.toFixed(percent < 0.995 ? 2 : 1)} %`.replace("100.0", "99.9");
}
