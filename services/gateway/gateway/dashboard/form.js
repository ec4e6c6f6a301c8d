/** Forms: one place for what went wrong, and buttons that are busy while something is under way. */

import { button, el } from "./dom.js";

/** A field for text; `attributes` as in HTML. */
export function input(attributes = {}) {
  return el("input", { type: "text", autocomplete: "off", spellcheck: "false", ...attributes });
}

/**
 * A form. `submit()` may throw: its message stands, and is read out, above the button. `busy` is that button's text
 * meanwhile, and it cannot be pressed twice. `beside`: other buttons.
 */
export function form({ rows, action, busy, submit, beside = null }) {
  const problem = el("p", { class: "refused", role: "alert" });
  const go = el("button", { type: "submit", class: "primary" }, action);
  const onsubmit = (event) => {
    event.preventDefault();
    problem.textContent = "";
    occupied(go, busy, submit).catch((error) => (problem.textContent = error.message));
  };
  return el("form", { class: "form", onsubmit }, rows, problem, el("div", { class: "actions" }, beside, go));
}

/** Do `work` while the button says `busy`. It stays where the focus is, and further presses do nothing. */
async function occupied(pressed, busy, work) {
  if (pressed.ariaDisabled) return undefined;
  const text = pressed.textContent;
  pressed.textContent = busy;
  pressed.ariaDisabled = "true";
  try {
    return await work();
  } finally {
    pressed.textContent = text;
    pressed.ariaDisabled = null;
  }
}

/**
 * A button that does `work` on the server, and says through the page what went wrong. `ask`: what has to be answered
 * with yes before.
 */
export function act(page, text, busy, work, attributes = {}, ask = () => true) {
  const failed = (error) => error.name !== "AbortError" && page.say(error.message, "bad");
  const onclick = async ({ currentTarget }) => {
    if (await ask()) await occupied(currentTarget, busy, work).catch(failed);
  };
  return button(text, onclick, attributes);
}
