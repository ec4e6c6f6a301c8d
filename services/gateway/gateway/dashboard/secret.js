/** A secret that is shown once: it can be copied, and is gone when its dialog closes. */

import { dialog } from "./dialog.js";
import { button, el } from "./dom.js";

/** Show the secret; answers once it was put away. */
export function shownOnce(title, secret, advice) {
  return dialog(title, (close) => {
    const shown = el("input", { type: "text", readonly: true, class: "secret", "aria-label": title, value: secret });
    const said = el("span", { class: "hint", role: "status" });
    const copy = async () => (said.textContent = await copied(shown));
    return [
      el("p", {}, advice),
      el("div", { class: "secret-row" }, shown, button("Copy", copy, { class: "primary", autofocus: true })),
      el("div", { class: "actions" }, said, button("I have kept it", () => close())),
    ];
  });
}

/** Copy the field's text and tell how that went: without https the clipboard is closed to pages. */
async function copied(shown) {
  try {
    await navigator.clipboard.writeText(shown.value);
    return "Copied.";
  } catch {
    shown.select();
    return "Selected: copy it with your keyboard.";
  }
}
