/** Members: whose tokens there are, what each may do, and until when. */

import { confirmed, dialog } from "../dialog.js";
import { badge, button, el, emptyState, field, fill, select } from "../dom.js";
import { act, form, input } from "../form.js";
import { count, moment } from "../format.js";
import { shownOnce } from "../secret.js";
import { table } from "../table.js";
import { ahead, stateOf, validity } from "../validity.js";
import { chosenWorkspace, workspaceChoice } from "../workspaces.js";

export const title = "Members and their tokens";

const ROLES = [
  ["viewer", "viewer: reads"],
  ["member", "member: also runs prompts and batches"],
  ["admin", "admin: also connects keys and issues tokens"],
];
const PURPOSE =
  "Everybody who signs in here, and every service that calls the API, has a token of its own. Its name is what costs are " +
  "grouped by as the user.";
const ONCE = "This is the only time it is shown: only its hash is kept. Hand it over as you would a password.";
const LIFETIMES = [["30", "30 days"], ["90", "90 days"], ["365", "a year"], ["", "until it is revoked"]];

export async function show(root, page) {
  const workspaceId = chosenWorkspace(page);
  const [choice, tokens] = await Promise.all([workspaceChoice(page), page.api.get("/api/tokens", { workspaceId })]);
  const live = tokens.filter((token) => stateOf(token) === "active");
  const over = tokens.filter((token) => stateOf(token) !== "active");
  const issue = button("New token", () => create(page, workspaceId), { id: "new-token", class: "primary" });
  fill(
    root,
    el("p", {}, PURPOSE),
    el("div", { class: "controls lead" }, choice, issue),
    listing(live, page, "tokens"),
    over.length > 0 && el("details", {}, el("summary", {}, `${count(over.length)} revoked or expired`), listing(over, page, "tokens-over")),
  );
}

function listing(tokens, page, id) {
  return table({
    id,
    caption: "Tokens",
    hideCaption: true,
    rows: tokens.toReversed(),
    empty: emptyState("No token yet", "Create one for the first admin of this workspace."),
    columns: [
      { title: "Name", cell: (token) => token.name, sort: (token) => token.name },
      { title: "Role", cell: (token) => badge(token.operator ? "operator" : token.role), sort: (token) => token.role },
      { title: "State", cell: (token) => validity(stateOf(token)) },
      { title: "Created", cell: (token) => moment(token.createdAt), sort: (token) => token.createdAt },
      { title: "Ends", cell: ends, sort: (token) => token.expiresAt },
      { title: "Actions", cell: (token) => actionOf(token, page) },
    ],
  });
}

function ends(token) {
  if (token.revokedAt) return `revoked ${moment(token.revokedAt)}`;
  return token.expiresAt ? moment(token.expiresAt) : "when it is revoked";
}

function actionOf(token, page) {
  if (token.operator) return el("small", {}, "in the operator's file");
  return stateOf(token) === "active" && revokeButton(token, page);
}

function revokeButton(token, page) {
  const ask = () => confirmed({ title: `Revoke the token of “${token.name}”?`, text: CONSEQUENCE, action: "Revoke" });
  const revoke = async () => {
    await page.api.del(`/api/tokens/${token.id}`);
    page.say(`The token of “${token.name}” is revoked.`);
    await page.again();
  };
  const attributes = { id: `revoke-${token.id}`, class: "danger", "aria-label": `Revoke the token of ${token.name}` };
  return act(page, "Revoke", "Revoking…", revoke, attributes, ask);
}

const CONSEQUENCE =
  "Whoever uses it is signed out, and its calls are refused within a few seconds. Runs and batches that it started go on.";

async function create(page, workspaceId) {
  const issued = await dialog("Create a token", (close) => {
    const name = input({ required: true, maxlength: "64", placeholder: "ann, or nightly-job" });
    const role = select({}, ROLES, "member");
    const days = select({}, LIFETIMES, "90");
    const submit = async () => {
      const asked = { name: name.value.trim(), role: role.value, expiresAt: ahead(days.value), workspaceId };
      close(await page.api.post("/api/tokens", asked));
    };
    const rows = [field("Name of the person or service", name), field("Role", role), field("It holds", days)];
    return form({ rows, action: "Create", busy: "Creating…", submit, beside: button("Cancel", () => close()) });
  });
  if (!issued) return;
  await shownOnce(`The token of “${issued.name}”`, issued.token, ONCE);
  await page.again();
}
