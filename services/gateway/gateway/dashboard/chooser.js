/** Choosing a file: by button, by keyboard, or by dropping it. */

import { el } from "./dom.js";

/** A place to choose one file at; `chosen(file)` is called with it. */
export function chooser(label, hint, accept, chosen) {
  const pick = (files) => files.length > 0 && chosen(files[0]);
  const control = el("input", { type: "file", accept, id: "file", onchange: () => pick(control.files) });
  const ondrop = (event) => {
    over(event);
    away(event);
    pick(event.dataTransfer.files);
  };
  const name = el("label", { for: "file" }, label);
  return el("div", { class: "chooser", ondragover: over, ondragleave: away, ondrop }, name, control, el("span", { class: "hint" }, hint));
}

function over(event) {
  event.preventDefault(); // else the browser opens the file
  event.currentTarget.classList.add("over");
}

function away(event) {
  event.currentTarget.classList.remove("over");
}
