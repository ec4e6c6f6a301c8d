/** Bars that show how far something is, in words too. */

import { el, fill } from "./dom.js";

/**
 * A bar of parts of a whole. `parts`: `{kind, value}`, in the order they are drawn; what is left of `total` stays empty.
 * `label` says the same in words.
 */
export function bar({ label, total, parts }) {
  const left = Math.max(0, total - parts.reduce((sum, { value }) => sum + value, 0));
  const drawn = [...parts, { kind: "left", value: left }].filter(({ value }) => value > 0);
  return el("div", { class: "bar", role: "img", "aria-label": label }, drawn.map(part));
}

/** A bar that hears how far something is: `told(fraction, words)`. */
export function meter(label) {
  const drawn = el("progress", { max: "1", value: 0, "aria-label": label });
  const said = el("span", { class: "hint" });
  const told = (fraction, words) => {
    drawn.value = fraction;
    fill(said, words);
  };
  return { node: el("div", { class: "meter" }, drawn, said), told };
}

function part({ kind, value }) {
  const drawn = el("span", { class: `bar-${kind}` });
  drawn.style.flexGrow = value; // a style rule of the script's own: the policy forbids only those in the markup
  return drawn;
}
