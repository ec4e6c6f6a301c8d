/** The dashboard: who is signed in, and which view the address names. */

import { api } from "./api.js";
import { button, el, emptyState, fill } from "./dom.js";
import { FIRST, VIEWS, may, parseHash } from "./navigation.js";
import { makePage } from "./page.js";
import { makeShell } from "./shell.js";
import { showSignIn } from "./sign-in.js";

const app = document.getElementById("app");
let shell = null;
let me = null;
let leaving = new AbortController();
let shown = null;

window.addEventListener("hashchange", () => show());
start();

async function start() {
  try {
    me = await api.get("/api/session");
  } catch (error) {
    return void fill(app, problem(error, start));
  }
  if (!me) return signIn();
  shell = makeShell(me, signOut);
  fill(app, shell.root);
  await show();
}

function signIn(reason = null) {
  leaving.abort();
  shell = shown = me = null;
  showSignIn(app, start, reason);
}

async function signOut() {
  try {
    await api.del("/api/session");
  } catch (error) {
    return shell.say(error.message, "bad"); // the cookie is still there: whoever sits down next would be signed in
  }
  signIn();
}

/** Show the view that the address names. Its parts replace the earlier ones when they are there: nothing flashes. */
async function show() {
  if (!shell) return;
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const { view, params } = parseHash(location.hash);
  if (!(view in VIEWS)) return void shell.present(view, "Not found", notFound());
  if (!may(me, VIEWS[view].role)) return void shell.present(view, "Not allowed", notAllowed(VIEWS[view].role));
  if (view !== shown) shell.loading(view);
  shell.busy(true);
  const page = makePage({ view, params, me, say: shell.say, show, signal });
  try {
    const module = await import(`./views/${view}.js`);
    if (signal.aborted) return; // it would write its own parameters into the address of the view that is shown by now
    const root = el("div", { class: `view view-${view}` });
    await module.show(root, page);
    if (signal.aborted) return;
    shell.present(view, module.title, root);
    shown = view;
  } catch (error) {
    if (signal.aborted) return;
    if (error.status === 401) return signIn("Your session is over. Please sign in again.");
    shell.present(view, "Something went wrong", problem(error, show));
    shown = null;
  } finally {
    if (!signal.aborted) shell.busy(false);
  }
}

function problem(error, again) {
  const text = error.code ? error.message : `This is a fault of the page: ${error.message}`;
  const state = emptyState("This could not be shown", text, button("Try again", again, { class: "primary" }));
  state.setAttribute("role", "alert");
  return state;
}

function notFound() {
  return emptyState("There is no such page", "The address may be from another version.", el("a", { href: `#${FIRST}` }, "To the overview"));
}

function notAllowed(role) {
  return emptyState("This page is not for your role", `It needs the role “${role}”; yours is “${me.role}”. Ask an admin of your workspace.`);
}
