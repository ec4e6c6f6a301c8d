/** Elements, made of text alone: nothing that came from anywhere is ever read as HTML. */

/**
 * Make an element. Attributes: `class`, `on…` with a function, properties such as `value` and `checked`, booleans
 * (false and null leave it out), everything else as it is. Children: nodes, texts, numbers, lists; null is left out.
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...nodes(children));
  return element;
}

/** Put these children in place of those that are there. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/** A link into the dashboard, by a view's address from `page.href`. */
export function link(href, ...children) {
  return el("a", { href }, ...children);
}

/** A button that does something; `class`: `primary`, `quiet` or `danger`. */
export function button(text, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, text);
}

/** A labelled control: `control` is an input, select or textarea, and gets an id if it has none. */
export function field(label, control, hint = null) {
  control.id ||= `field-${(counter += 1)}`;
  const hintId = `${control.id}-hint`;
  if (hint) control.setAttribute("aria-describedby", hintId);
  const said = hint && el("span", { class: "hint", id: hintId }, hint);
  return el("div", { class: "field" }, el("label", { for: control.id }, label), control, said);
}

/** A select; `options` are values, or pairs of value and text. */
export function select(attributes, options, chosen) {
  const made = options.map((option) => {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    return el("option", { value, selected: value === chosen }, text);
  });
  return el("select", attributes, made);
}

/** A few words that stand out: `kind` is `good`, `bad`, `warn` or nothing. */
export function badge(text, kind = "") {
  return el("span", { class: `badge ${kind}` }, text);
}

/** What is shown where there is nothing: why, and what to do next. */
export function emptyState(title, text, ...actions) {
  return el("div", { class: "state" }, el("h2", {}, title), text && el("p", {}, text), ...actions);
}

let counter = 0;
const PROPERTIES = new Set(["value", "checked", "selected", "disabled", "indeterminate"]);

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (PROPERTIES.has(name)) element[name] = value;
  else element.setAttribute(name, value === true ? "" : value);
}

function nodes(children) {
  const flat = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  return flat.map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}
