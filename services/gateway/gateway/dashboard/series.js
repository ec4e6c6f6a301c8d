/** Figures over time, as a chart draws them: the bucket that is not over is pale, the period before dotted and pale. */

import { means, sums } from "./buckets.js";
import { NARROW } from "./chart.js";

/** How opaque the bucket is that is not over. */
export const PALE = 0.4;

/** Bars of a sum; one that is not over yet is pale. */
export function bars(buckets, name, color, title, extra = {}) {
  return {
    type: "bar",
    name: title,
    x: labels(buckets),
    y: sums(buckets, name),
    marker: { color, opacity: buckets.map((bucket) => (bucket.unfinished ? PALE : 1)) },
    ...extra,
  };
}

/** The sums of the period before, bucket for bucket, as a dotted pale line. */
export function beforeLine(buckets, earlier, name, extra = {}) {
  return {
    type: "scatter",
    mode: "lines",
    name: "Period before",
    x: labels(buckets),
    y: sums(earlier, name).slice(0, buckets.length),
    line: { color: "soft", dash: "dot", width: 1.5 },
    opacity: 0.65,
    ...extra,
  };
}

/** A line of means, with a gap where there is nothing to divide by; single points are dots. */
export function meanLine(buckets, name, color, title, extra = {}) {
  return {
    type: "scatter",
    mode: "lines+markers",
    name: title,
    x: labels(buckets),
    y: means(buckets, name),
    connectgaps: false,
    line: { color, width: 2 },
    marker: { color, size: 5, opacity: buckets.map((bucket) => (bucket.unfinished ? PALE : 1)) },
    ...extra,
  };
}

/** A layout whose horizontal axis says a few of the buckets' names. */
export function overTime(extra = {}) {
  const { yaxis, ...rest } = extra;
  const nticks = window.innerWidth < NARROW ? 4 : 8;
  return { xaxis: { type: "category", nticks, tickangle: 0 }, yaxis: { ...yaxis }, ...rest };
}

const labels = (buckets) => buckets.map((bucket) => bucket.label);
