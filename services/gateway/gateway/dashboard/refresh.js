/** Figures that stay current: asked for again while they can be seen, and said to be old when that fails. */

import { el, fill } from "./dom.js";
import { timeOfDay } from "./format.js";

const SECONDS = 10;
const FOCUSABLE = "a[href], button, input, select, summary, [tabindex]";

/**
 * Ask with `load`, show with `render(answer)`, and again every few seconds. The first failure is the caller's; after a
 * later one the figures stay, and `root` gets a line that says how old they are.
 */
export async function live(page, root, zone, load, render) {
  const stale = el("div", { "aria-live": "polite" });
  root.append(stale);
  let at = null;
  const turn = async () => {
    const answer = await load();
    at = Date.now();
    fill(stale);
    keepingFocus(root, () => render(answer));
  };
  await turn();
  page.every(SECONDS, async () => {
    try {
      await turn();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 401) return void page.again();
      const text = `${error.message} These figures are of ${timeOfDay(at, zone)}; this page keeps asking.`;
      fill(stale, el("p", { class: "stale" }, text));
    }
  });
}

/** Draw anew; whoever was on a link or a control stays on the one that has come in its place. */
function keepingFocus(root, draw) {
  const place = [...root.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
  draw();
  if (place >= 0 && !root.contains(document.activeElement)) {
    root.querySelectorAll(FOCUSABLE)[place]?.focus({ preventScroll: true });
  }
}
