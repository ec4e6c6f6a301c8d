/** Modal dialogs: the browser's own, so that focus, Escape and screen readers work as everywhere. */

import { button, el } from "./dom.js";

let opened = 0;

/**
 * Show a dialog. `build(close)` gives its content; answers what `close` was given, undefined where it was dismissed.
 * It leaves the page with everything in it, secrets too.
 */
export function dialog(title, build) {
  return new Promise((resolve) => {
    let answer;
    const close = (value) => {
      answer = value;
      frame.close();
    };
    const heading = el("h2", { id: `dialog-${(opened += 1)}` }, title);
    const dismiss = button("×", () => close(), { class: "quiet", "aria-label": "Close" });
    const frame = el("dialog", { class: "dialog", "aria-labelledby": heading.id });
    frame.append(el("header", {}, heading, dismiss), el("div", { class: "dialog-body" }, build(close)));
    frame.addEventListener("close", () => {
      frame.remove();
      resolve(answer);
    });
    document.body.append(frame);
    frame.showModal();
  });
}

/** Ask before what cannot be undone; answers whether `action` was pressed. */
export async function confirmed({ title, text, action, kind = "danger" }) {
  const answer = await dialog(title, (close) => [
    el("p", {}, text),
    el(
      "div",
      { class: "actions" },
      button("Keep as it is", () => close(false), { autofocus: true }),
      button(action, () => close(true), { class: kind }),
    ),
  ]);
  return answer === true;
}
