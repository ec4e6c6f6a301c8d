/** Numbers, money and times as people read them, in the browser's language and a named time zone. */

/** What numbers and times are written in. */
export const LANGUAGE = navigator.language || "en";
const whole = new Intl.NumberFormat(LANGUAGE);
const compactly = new Intl.NumberFormat(LANGUAGE, { notation: "compact", maximumFractionDigits: 1 });
const dollars = (digits) =>
  new Intl.NumberFormat(LANGUAGE, {
    style: "currency", currency: "USD", currencyDisplay: "narrowSymbol",
    minimumFractionDigits: digits, maximumFractionDigits: digits,
  });
const [toCents, fine, micro] = [2, 4, 6].map(dollars);
const oneDecimal = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 1 });

/** What stands for a value that there is none of. */
export const NONE = "–";

const absent = (value) => value === null || value === undefined;

/** A count: 12,345. */
export const count = (value) => (absent(value) ? NONE : whole.format(value));

/** A count in little space: 12.3K. */
export const compact = (value) => (absent(value) ? NONE : compactly.format(value));

/** Dollars and cents, whatever the amount. */
export const cents = (value) => (absent(value) ? NONE : toCents.format(Number(value)));

/** Dollars: cents from one dollar up, below that so many digits that the amount can be told, at most a micro-dollar. */
export function money(value) {
  if (absent(value)) return NONE;
  const amount = Number(value);
  const size = Math.abs(amount);
  return (size >= 1 || size === 0 ? toCents : size >= 0.01 ? fine : micro).format(amount);
}

/** Dollars to the micro-dollar, whatever the amount. */
export const exactMoney = (value) => (absent(value) ? NONE : micro.format(Number(value)));

/** A percentage that comes as one: 97.3 %. */
export const percent = (value) => (absent(value) ? NONE : `${oneDecimal.format(value)}%`);

/** How long something took; the value is in milliseconds. */
export function duration(ms) {
  if (absent(ms)) return NONE;
  if (ms < 1000) return `${whole.format(Math.round(ms))} ms`;
  if (ms < 60_000) return `${oneDecimal.format(ms / 1000)} s`;
  if (ms < 3_600_000) return `${oneDecimal.format(ms / 60_000)} min`;
  return `${oneDecimal.format(ms / 3_600_000)} h`;
}

/** Bytes in powers of 1024. */
export function bytes(value) {
  if (absent(value)) return NONE;
  const step = value < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(value) / 10));
  return `${oneDecimal.format(value / 1024 ** step)} ${["B", "KiB", "MiB", "GiB", "TiB"][step]}`;
}

/** A moment (ISO 8601, or Unix milliseconds) as date and time of the zone. */
export function moment(value, zone) {
  return absent(value) ? NONE : stamped({ dateStyle: "medium", timeStyle: "medium" }, zone, new Date(value));
}

/** The time of day alone, to the second. */
export function timeOfDay(value, zone) {
  return absent(value) ? NONE : stamped({ timeStyle: "medium", hourCycle: "h23" }, zone, new Date(value));
}

/** A calendar day YYYY-MM-DD, or a month YYYY-MM, in words. It belongs to no zone. */
export function day(value) {
  const options = value.length === 7 ? { year: "numeric", month: "short" } : { dateStyle: "medium" };
  return stamped(options, "UTC", new Date(`${value.padEnd(8, "-").padEnd(10, "01")}T00:00:00Z`));
}

/** The browser's own zone. */
export const ownZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

function stamped(options, timeZone, date) {
  return new Intl.DateTimeFormat(LANGUAGE, { ...options, timeZone }).format(date);
}
