/** Signing in: a token becomes a cookie that no script can read. It is typed or pasted, never part of an address. */

import { api } from "./api.js";
import { el, field, fill } from "./dom.js";

/** Show the form in `app`; `done` is called once somebody is signed in. */
export function showSignIn(app, done, reason = null) {
  document.title = "Sign in · Tallyrun";
  const token = el("input", {
    type: "password", id: "token", name: "token", required: true, autocomplete: "current-password", spellcheck: "false",
  });
  const refused = el("p", { class: "refused", role: "alert" }, reason);
  const submit = el("button", { type: "submit", class: "primary" }, "Sign in");
  const onsubmit = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    fill(refused);
    try {
      await api.post("/api/session", { token: token.value.trim() });
      await done();
    } catch (error) {
      fill(refused, error.message);
      token.select();
      token.focus();
    } finally {
      submit.disabled = false;
    }
  };
  const hint = "A token of your workspace (tally_…). An operator's is in the file ADMIN_TOKEN_FILE names: for the local stack .tallyrun/admin-token, for the demo .tallyrun/demo/admin-token.";
  fill(
    app,
    el(
      "main",
      { class: "sign-in" },
      el("h1", {}, "Tallyrun"),
      el("p", { class: "lead" }, "What prompt runs used and cost, and whether the figures are complete."),
      el("form", { onsubmit }, field("Access token", token, hint), refused, submit),
    ),
  );
  token.focus();
}
