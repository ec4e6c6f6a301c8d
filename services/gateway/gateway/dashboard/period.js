/** Which days are shown, of which time zone: both in the address, so that a link shows the same to everybody. */

import { el, field, select } from "./dom.js";
import { ownZone } from "./format.js";

const PERIODS = [["7d", "Last 7 days"], ["30d", "Last 30 days"], ["90d", "Last 90 days"], ["1y", "Last 365 days"]];
const CUSTOM = "custom";
const DEFAULT = "30d";
const DAY_MS = 86_400_000;

/**
 * Return the question's days `{period | from, to, tz}` as the address names them. What it leaves out is filled in there:
 * the browser's time zone, and 30 days.
 */
export function spanOf(page) {
  const { params } = page;
  const tz = params.get("tz") || ownZone();
  const [from, to] = [params.get("from"), params.get("to")];
  const span = from && to ? { from, to, tz } : { period: params.get("period") || DEFAULT, tz };
  const missing = Object.entries(span).filter(([name, value]) => params.get(name) !== value);
  if (missing.length) {
    for (const [name, value] of missing) params.set(name, value);
    history.replaceState(null, "", page.href(page.view, params));
  }
  return span;
}

/** The controls for it. */
export function periodControls(page) {
  const span = spanOf(page);
  return [periodField(page, span), ...(span.from ? daysFields(page, span) : []), zoneField(page, span)];
}

/** The days of as long a span that ends the day before `start` (both YYYY-MM-DD, ends included). */
export function daysBefore(start, end) {
  const length = (dayNumber(end) - dayNumber(start)) / DAY_MS + 1;
  return { from: dayText(dayNumber(start) - length * DAY_MS), to: dayText(dayNumber(start) - DAY_MS) };
}

/** Every day of a span, ends included. */
export function daysOf(start, end) {
  const count = (dayNumber(end) - dayNumber(start)) / DAY_MS + 1;
  return Array.from({ length: Math.max(0, count) }, (_, place) => dayText(dayNumber(start) + place * DAY_MS));
}

function periodField(page, span) {
  const chosen = span.from ? CUSTOM : span.period;
  const onchange = (event) => {
    const value = event.target.value;
    if (value !== CUSTOM) return page.set({ period: value, from: null, to: null, cursor: null });
    const [from, to] = [dayText(Date.now() - 13 * DAY_MS), dayText(Date.now())];
    return page.set({ period: null, from, to, cursor: null });
  };
  return field("Period", select({ id: "period", onchange }, [...PERIODS, [CUSTOM, "From … to …"]], chosen));
}

function daysFields(page, span) {
  const box = (name) => {
    const onchange = (event) => event.target.value && page.set(ordered({ ...span, [name]: event.target.value }));
    return el("input", { type: "date", id: name, value: span[name], onchange });
  };
  return [field("From", box("from")), field("To", box("to"))];
}

function ordered({ from, to }) {
  return from <= to ? { from, to, cursor: null } : { from: to, to: from, cursor: null };
}

function zoneField(page, span) {
  const known = Intl.supportedValuesOf?.("timeZone") ?? [];
  const zones = [...new Set(["UTC", ownZone(), span.tz, ...known])];
  return field("Time zone", select({ id: "tz", onchange: (event) => page.set({ tz: event.target.value }) }, zones, span.tz));
}

const dayNumber = (text) => Date.parse(`${text}T00:00:00Z`);
const dayText = (number) => new Date(number).toISOString().slice(0, 10);
