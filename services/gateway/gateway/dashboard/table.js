/** Tables: the one way that rows are shown. */

import { el, emptyState, fill } from "./dom.js";

/**
 * Make a table. `columns`: `{title, cell(row), number?, sort?(row), wide?}`; `cell` gives a node or a text, `number`
 * columns align right, one with `sort` (a number or a text for each row) can be sorted by its heading. `empty`: what is
 * shown instead when there is no row, a text or a node. `caption` is read out, and seen unless `hideCaption`.
 */
export function table({ caption, columns, rows, empty = "Nothing here yet.", hideCaption = false, id = null }) {
  if (!rows.length) return typeof empty === "string" ? emptyState(empty) : empty;
  const body = el("tbody", {}, rows.map((row) => line(columns, row)));
  const heads = columns.map((column) => heading(column));
  sortable(id, columns, heads, rows, body);
  const name = el("caption", { class: hideCaption ? "unseen" : null }, caption);
  const grid = el("table", { id }, name, el("thead", {}, el("tr", {}, heads)), body);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, grid);
}

/** By a table's id, the heading it was last sorted by: it stays sorted when it is made anew with newer rows. */
const sortings = new Map();

function sortable(id, columns, heads, rows, body) {
  let sorted = (id && sortings.get(id)) ?? { title: null, down: true };
  const apply = () => {
    const place = columns.findIndex(({ title, sort }) => sort && title === sorted.title);
    if (place < 0) return;
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[place].setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    fill(body, inOrder(rows, columns[place].sort, sorted.down).map((row) => line(columns, row)));
  };
  columns.forEach(({ title, sort, number }, place) => {
    if (!sort) return;
    heads[place].firstChild.addEventListener("click", () => {
      sorted = { title, down: sorted.title === title ? !sorted.down : Boolean(number) };
      if (id) sortings.set(id, sorted);
      apply();
    });
  });
  apply();
}

/** A list of names and values, such as one thing's properties: pairs of text and node or text. */
export function facts(pairs) {
  const shown = pairs.filter((pair) => pair && pair[1] !== null && pair[1] !== undefined && pair[1] !== "");
  return el("dl", { class: "facts" }, shown.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function heading(column) {
  const named = column.sort ? el("button", { type: "button", class: "sort" }, column.title) : el("span", {}, column.title);
  return el("th", { scope: "col", class: column.number ? "number" : null }, named);
}

function line(columns, row) {
  return el("tr", {}, columns.map((column, place) => cell(column, row, place === 0)));
}

function cell(column, row, first) {
  const classes = [column.number && "number", column.wide && "wide"].filter(Boolean).join(" ") || null;
  return el(first ? "th" : "td", { scope: first ? "row" : null, class: classes }, column.cell(row));
}

function inOrder(rows, by, down) {
  const keyed = rows.map((row) => [by(row), row]);
  keyed.sort(([a], [b]) => (down ? -1 : 1) * compare(a, b));
  return keyed.map(([, row]) => row);
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  return typeof a === "string" ? a.localeCompare(b) : a - b;
}
