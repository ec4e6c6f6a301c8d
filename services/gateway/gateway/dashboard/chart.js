/** Charts, each with the table of the same numbers below it. The drawing library is fetched when the first is seen. */

import { el, fill } from "./dom.js";

const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset" };
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const HEIGHT = 290;
/** Pages below so many pixels have no room for long legends and axes. */
export const NARROW = 700;
let library = null;

/**
 * Make a chart that can be given new numbers. `root` goes into the page; `update({traces, layout, table})` draws:
 * `traces` are Plotly's, with colours named as our style does ("chart-1"), `table` is the element with the same numbers.
 * `onpick(point)` is told which point was clicked.
 */
export function makeChart(page, { title, label, onpick = null }) {
  const canvas = el("div", { class: "chart", role: "img", "aria-label": `${label}. The table below has the same numbers.` });
  const numbers = el("details", { class: "numbers" });
  const root = el("figure", { class: "panel" }, el("header", {}, el("h2", {}, title)), canvas, numbers);
  let wanted = null;
  let seen = false;
  const draw = async () => {
    if (!seen || !wanted || page.signal.aborted) return;
    await drawInto(canvas, wanted, onpick);
  };
  watch(page, canvas, () => ((seen = true), draw()), draw);
  const update = (spec) => {
    wanted = spec;
    const open = numbers.open;
    fill(numbers, el("summary", {}, "The same numbers as a table"), spec.table);
    numbers.open = open;
    return draw();
  };
  return { root, update };
}

/** A colour of ours, resolved for the theme that is shown. */
function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const resolved = getComputedStyle(probe).color;
  probe.remove();
  return resolved;
}

function watch(page, canvas, onseen, redraw) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    onseen();
  }, { rootMargin: "200px" });
  observer.observe(canvas);
  const { signal } = page;
  window.addEventListener("themechange", redraw, { signal });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw, { signal });
  signal.addEventListener("abort", () => {
    observer.disconnect();
    if (canvas.querySelector(".plotly")) window.Plotly.purge(canvas);
  });
}

async function drawInto(canvas, { traces, layout }, onpick) {
  let plotly;
  try {
    plotly = await load();
  } catch (error) {
    return void fill(canvas, el("p", { class: "soft" }, error.message));
  }
  const fresh = !canvas.querySelector(".plotly");
  await plotly.react(canvas, traces.map(coloured), themed(layout, roomForLegend(traces)), CONFIG);
  if (fresh && onpick) canvas.on("plotly_click", ({ points }) => onpick(points[0]));
}

function load() {
  library ??= new Promise((resolve, reject) => {
    const src = document.querySelector('meta[name="charts"]').content;
    const failed = () => {
      library = null;
      reject(new Error("Charts could not be fetched; the tables have the same numbers."));
    };
    document.head.append(el("script", { src, onload: () => resolve(window.Plotly), onerror: failed }));
  });
  return library;
}

function coloured(trace) {
  const { fill: kind, marker = {}, line = {}, ...rest } = trace;
  const paint = (value) => (Array.isArray(value) ? value.map(colour) : value && colour(value));
  return {
    ...rest,
    ...(kind && { fill: kind }),
    marker: { ...marker, color: paint(marker.color) },
    line: { ...line, color: paint(line.color) },
  };
}

/** On a narrow page a legend takes a line for each of its names. */
const roomForLegend = (traces) => (window.innerWidth < NARROW && traces.length > 2 ? 18 * traces.length : 0);

function themed({ xaxis = {}, yaxis = {}, height = HEIGHT, ...rest }, more) {
  const [ink, soft, line, card] = ["ink", "soft", "line", "card"].map(colour);
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, tickfont: { color: soft }, fixedrange: true, automargin: true };
  return {
    font: { family: FONT, size: 12, color: ink },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 8, t: 30, b: 8 },
    height: height + more,
    hoverlabel: { bgcolor: card, bordercolor: line, font: { family: FONT, color: ink } },
    hovermode: "x unified",
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", traceorder: "normal", font: { color: soft } },
    bargap: 0.22,
    dragmode: false,
    ...rest,
    xaxis: { ...axis, showgrid: false, ...xaxis },
    yaxis: { ...axis, rangemode: "tozero", ...yaxis },
  };
}
