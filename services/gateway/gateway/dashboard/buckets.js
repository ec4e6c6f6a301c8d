/** Time in buckets: hours or days, each there whether or not anything ran, so that sums are zeros and means are gaps. */

import { LANGUAGE, day } from "./format.js";
import { daysOf } from "./period.js";

const HOUR_MS = 3_600_000;
const SHORT_DAYS = 3;

/** Hours for up to three days, else days. */
export function bucketOf(span) {
  return span.from && daysOf(span.from, span.to).length <= SHORT_DAYS ? "hour" : "day";
}

/**
 * Return every bucket of an answer: `{key, label, unfinished, group}`; `group` is null where nothing ran. `key` is as
 * the API writes it: an hour in UTC, or a day of the zone.
 */
export function bucketsOf(answer, bucket) {
  const groups = new Map(answer.groups.map((group) => [group.by[bucket], group]));
  const keys = bucket === "hour" ? hoursOf(answer) : daysOf(answer.start, answer.end);
  const labelled = bucket === "hour" ? hourLabels(keys, answer.timeZone) : keys.map((key) => [key, dayLabel(key, keys)]);
  const now = bucket === "hour" ? new Date().toISOString().slice(0, 13) : today(answer.timeZone);
  return labelled.map(([key, label]) => ({ key, label, unfinished: key.startsWith(now), group: groups.get(key) ?? null }));
}

/** A sum of each bucket: zero where nothing ran. */
export const sums = (buckets, name) => buckets.map(({ group }) => Number(group?.[name] ?? 0));

/** A mean of each bucket: nothing where nothing ran. */
export const means = (buckets, name) => buckets.map(({ group }) => group?.[name] ?? null);

/** The day it is in a time zone, YYYY-MM-DD. */
function today(timeZone) {
  return inZone(new Date(), timeZone).slice(0, 10);
}

/** The days an hour's bucket lies in, as a filter of days. */
export function daysOfBucket(key, bucket, timeZone) {
  const date = bucket === "hour" ? inZone(new Date(key), timeZone).slice(0, 10) : key;
  return { period: null, from: date, to: date };
}

function dayLabel(key, keys) {
  if (keys.length > 366) return day(key);
  return new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short", timeZone: "UTC" }).format(new Date(key));
}

/** The hours of whole days of a zone, whatever its clock does on them: looked for from a day before to a day after. */
function hoursOf({ start, end, timeZone }) {
  const [from, to] = [Date.parse(`${start}T00:00Z`) - 24 * HOUR_MS, Date.parse(`${end}T00:00Z`) + 48 * HOUR_MS];
  const hours = Array.from({ length: (to - from) / HOUR_MS }, (_, place) => new Date(from + place * HOUR_MS));
  const within = (date) => {
    const local = inZone(date, timeZone).slice(0, 10);
    return local >= start && local <= end;
  };
  const touches = (hour) => within(hour) || within(new Date(hour.getTime() + HOUR_MS - 1));
  return hours.filter(touches).map((hour) => `${hour.toISOString().slice(0, 13)}:00:00Z`);
}

/** Local times; the hour that comes twice when a clock is put back is told apart. */
function hourLabels(keys, timeZone) {
  const format = new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone });
  const seen = new Set();
  return keys.map((key) => {
    const label = format.format(new Date(key));
    const twice = seen.has(label);
    seen.add(label);
    return [key, twice ? `${label} (again)` : label];
  });
}

/** YYYY-MM-DD hh:mm:ss of a zone's clock: Sweden writes dates as ISO 8601 does. */
function inZone(date, timeZone) {
  return new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium", timeZone }).format(date);
}
