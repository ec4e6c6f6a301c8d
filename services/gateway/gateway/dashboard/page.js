/** What a view is given: the API, its address, the session, and ways to change and to refresh what is shown. */

import { api } from "./api.js";
import { hrefOf } from "./navigation.js";

/** Make the page of one showing of a view; `signal` is aborted when that is left. */
export function makePage({ view, params, me, say, show, signal }) {
  const page = { api: within(signal), view, params, me, say, signal, href: hrefOf };

  /** The address of this view with some parameters changed: null takes one out, a list repeats it. */
  page.with = (changes) => hrefOf(view, changed(params, changes));
  /** Change parameters of the address, and show again; `replace` leaves no entry behind to go back to. */
  page.set = (changes, { replace = false } = {}) => visit(page.with(changes), replace, show);
  /** Go to another view. */
  page.go = (other, values = {}) => visit(hrefOf(other, values), false, show);
  /** Show this view again as it is, such as after something was changed. */
  page.again = () => show();
  /** Call `work` every so many seconds, while the page can be seen and until the view is left. */
  page.every = (seconds, work) => repeat(seconds, work, signal);
  return page;
}

/** Return the parameters with some changed. */
export function changed(params, changes) {
  const next = new URLSearchParams(params);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    if (value !== null && value !== undefined) for (const one of [value].flat()) if (one !== "") next.append(name, one);
  }
  return next;
}

function visit(hash, replace, show) {
  if (hash === (location.hash || "#")) return show();
  if (!replace) return void (location.hash = hash);
  history.replaceState(null, "", hash);
  return show();
}

/** The API whose calls are given up when the view is left, unless one brings its own signal. */
function within(signal) {
  return {
    get: (path, params, options) => api.get(path, params, { signal, ...options }),
    post: (path, body, options) => api.post(path, body, { signal, ...options }),
    del: (path, options) => api.del(path, { signal, ...options }),
    stream: (path, params, options) => api.stream(path, params, { signal, ...options }),
  };
}

function repeat(seconds, work, signal) {
  let busy = false;
  const turn = async () => {
    if (document.hidden || busy) return;
    busy = true;
    try {
      await work();
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    } finally {
      busy = false;
    }
  };
  const timer = setInterval(turn, seconds * 1000);
  document.addEventListener("visibilitychange", turn, { signal });
  signal.addEventListener("abort", () => clearInterval(timer));
}
