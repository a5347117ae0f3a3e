"use strict";
// How numbers are told, and where an axis has its ticks. The page has these files as one script.

const text = (value) => {
  const rounded = +value.toPrecision(4), tiny = rounded && Math.abs(rounded) < 1e-3;
  return (tiny ? rounded.toExponential() : String(rounded)).replaceAll("-", "−");
};
const short = (value) =>
  value >= 1e6 ? `${text(value / 1e6)}M` : value >= 1e3 ? `${text(value / 1e3)}k` : text(value);
const between = (value, [low, high]) => value >= low && value <= high;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function ticks([low, high], count, whole) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(whole ? 1 : 0, ([1, 2, 5].find((of) => of * power >= rough) ?? 10) * power);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, place) => (first + place) * step);
}

function logTicks(range) {
  const decades = ticks(range.map(Math.log10), 20, true).map((power) => 10 ** power);
  const all = [decades[0] / 10 || 10 ** Math.floor(Math.log10(range[0])), ...decades]
    .flatMap((decade) => [decade, 2 * decade, 5 * decade])
    .filter((value) => between(value, range));
  return all.length < 2 ? ticks(range, 4) : all.length > 7 ? decades : all;
}

function nearest(line, x) {
  let low = 0, high = line.x.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (line.x[middle] < x) low = middle; else high = middle;
  }
  return x - line.x[low] <= line.x[high] - x ? low : high;
}
