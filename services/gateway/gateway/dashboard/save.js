/** Taking figures along: the view's own table as CSV, and the runs behind it as the server exports them. */

import { address } from "./api.js";
import { button, el, link } from "./dom.js";

const FORMATS = [
  ["csv", "Runs as CSV"],
  ["parquet", "Runs as Parquet"],
  ["focus", "Costs in FOCUS format"],
];
const FORMULA = /^[=+\-@\t\r]/;

/** A menu of exports of the days and filters shown; `view` is `{name, columns, rows}` as a function, for the table. */
export function exportMenu({ question, view = null }) {
  const items = FORMATS.map(([format, text]) => {
    const item = link(address("/api/analytics/export", { ...question, format }), text);
    item.setAttribute("download", "");
    return el("li", {}, item);
  });
  const own = view && el("li", {}, button("This table as CSV", () => saveCsv(view()), { id: "save-csv" }));
  const menu = el("details", { class: "menu" }, el("summary", { id: "export" }, "Export"), el("ul", {}, own, items));
  menu.addEventListener("keydown", (event) => event.key === "Escape" && close(menu));
  menu.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget && !menu.contains(relatedTarget)) menu.open = false;
  });
  return menu;
}

/** Return CSV (RFC 4180). `columns`: pairs of heading and `row => value`; money keeps every digit it came with. */
function csvOf(columns, rows) {
  const lines = [columns.map(([heading]) => heading), ...rows.map((row) => columns.map(([, value]) => value(row)))];
  return lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
}

/** A spreadsheet would carry out a text that looks like a formula. */
function quoted(value) {
  if (value === null || value === undefined) return "";
  const text = String(value);
  const harmless = FORMULA.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

function saveCsv({ name, columns, rows }) {
  const url = URL.createObjectURL(new Blob([csvOf(columns, rows)], { type: "text/csv" }));
  const file = el("a", { href: url, download: `${name}.csv` });
  document.body.append(file);
  file.click();
  file.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function close(menu) {
  menu.open = false;
  menu.querySelector("summary").focus();
}
