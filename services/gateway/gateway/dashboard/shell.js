/** What surrounds every view: navigation, workspace, notices, theme, and the region where outcomes are said. */

import { button, el, fill, link } from "./dom.js";
import { VIEWS, daysIn, hrefOf, may, parseHash } from "./navigation.js";

const SAID_SECONDS = 8;
const THEMES = ["auto", "light", "dark"];

/** Make the shell for this session. */
export function makeShell(me, signOut) {
  const main = el("main", { id: "main", tabindex: "-1" });
  const status = el("div", { class: "said", role: "status", "aria-live": "polite" });
  const heading = el("h1", {});
  const links = new Map();
  const root = el(
    "div",
    { class: "shell" },
    skipLink(main),
    el("header", { class: "top" }, brand(), workspace(me), el("div", { class: "account" }, themeSwitch(), account(me, signOut))),
    navigation(me, links),
    el("div", { class: "content" }, me.simulated && simulatedNotice(), el("div", { class: "heading" }, heading), main),
    status,
  );
  return {
    root,
    busy: (yes) => main.setAttribute("aria-busy", String(yes)),
    loading: (view) => {
      mark(links, view);
      heading.textContent = VIEWS[view].title ?? heading.textContent;
      fill(main, el("p", { class: "loading" }, "Loading…"));
    },
    present: (view, title, content) => {
      mark(links, view);
      const focused = document.activeElement?.id;
      document.title = `${title} · Tallyrun`;
      heading.textContent = title;
      fill(main, content);
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    },
    say: (message, kind = "good") => say(status, message, kind),
  };
}

function say(status, message, kind) {
  const line = el("p", { class: kind }, message, button("Dismiss", () => line.remove(), { class: "quiet" }));
  fill(status, line);
  if (kind !== "bad") setTimeout(() => line.remove(), SAID_SECONDS * 1000);
}

function skipLink(main) {
  const jump = (event) => {
    event.preventDefault(); // the address names a view
    main.focus();
  };
  return el("a", { class: "skip", href: "#main", onclick: jump }, "Skip to the content");
}

function brand() {
  return el("a", { class: "brand", href: "#overview" }, "Tallyrun");
}

function workspace(me) {
  return el("span", { class: "workspace", title: `Workspace ${me.workspaceId}` }, me.workspaceName);
}

function account(me, signOut) {
  const who = el("span", { class: "who" }, me.name, el("small", {}, me.operator ? "operator" : me.role));
  return [who, button("Sign out", signOut, { id: "sign-out", class: "quiet" })];
}

function navigation(me, links) {
  const items = Object.entries(VIEWS).filter(([, view]) => view.title && may(me, view.role));
  const made = items.map(([name, view]) => {
    const item = link(`#${name}`, view.title);
    links.set(name, item);
    return el("li", {}, item);
  });
  return el("nav", { "aria-label": "Views" }, el("ul", {}, made));
}

function mark(links, view) {
  const current = VIEWS[view]?.owner ?? view;
  for (const [name, item] of links) {
    if (VIEWS[name].dated) item.href = hrefOf(name, daysIn(parseHash(location.hash).params));
    if (name === current) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
}

function simulatedNotice() {
  const text = "The providers here are simulated: prices come from real price lists, answers from no model, and nobody is charged.";
  return el("p", { class: "notice", role: "note" }, el("strong", {}, "Simulated."), " ", text);
}

function themeSwitch() {
  const now = () => document.documentElement.dataset.theme ?? "auto";
  const text = () => `Theme: ${now()}`;
  const next = (event) => {
    const theme = THEMES[(THEMES.indexOf(now()) + 1) % THEMES.length];
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme === "auto" ? "" : theme);
    event.target.textContent = text();
    window.dispatchEvent(new Event("themechange"));
  };
  return button(text(), next, { id: "theme", class: "quiet" });
}
