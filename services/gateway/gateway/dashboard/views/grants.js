/** Service grants: what internal services publish runs on, straight to Kafka. */

import { confirmed, dialog } from "../dialog.js";
import { providerNames } from "../connect.js";
import { button, el, emptyState, field, fill, select } from "../dom.js";
import { act, form, input } from "../form.js";
import { count, moment } from "../format.js";
import { shownOnce } from "../secret.js";
import { table } from "../table.js";
import { ahead, validity } from "../validity.js";
import { chosenWorkspace, workspaceChoice } from "../workspaces.js";

export const title = "Service grants";

const LIFETIMES = [["1", "a day"], ["7", "a week"], ["14", "two weeks"], ["30", "30 days, the longest"]];
const PURPOSE =
  "A service that publishes runs straight to Kafka carries a grant: a signed permission to use this workspace's keys at " +
  "named providers. A service that calls the API needs a token instead.";
const ONCE =
  "This is the only time it is shown. Give it to the service as a secret; it is renewed by issuing the next one before it ends.";
const MARGIN_MS = 60_000; // a clock that is a little fast must not ask for more than the longest

export async function show(root, page) {
  const workspaceId = chosenWorkspace(page);
  const [choice, grants] = await Promise.all([workspaceChoice(page), page.api.get("/api/grants", { workspaceId })]);
  const live = grants.filter((grant) => grant.state === "active");
  const over = grants.filter((grant) => grant.state !== "active");
  const issue = button("New grant", () => create(page, workspaceId), { id: "new-grant", class: "primary" });
  fill(
    root,
    el("p", {}, PURPOSE),
    el("div", { class: "controls lead" }, choice, issue),
    listing(live, page, "grants"),
    over.length > 0 && el("details", {}, el("summary", {}, `${count(over.length)} revoked or expired`), listing(over, page, "grants-over")),
  );
}

function listing(grants, page, id) {
  return table({
    id,
    caption: "Grants",
    hideCaption: true,
    rows: grants.toReversed(),
    empty: emptyState("No grant is in force", "None is needed unless a service publishes runs to Kafka itself."),
    columns: [
      { title: "Service", cell: (grant) => grant.name, sort: (grant) => grant.name },
      { title: "Providers", cell: (grant) => grant.providers.join(", "), wide: true },
      { title: "State", cell: (grant) => validity(grant.state) },
      { title: "Created", cell: (grant) => [moment(grant.createdAt), el("small", {}, `by ${grant.createdBy}`)], sort: (grant) => grant.createdAt },
      { title: "Ends", cell: (grant) => moment(grant.revokedAt ?? grant.expiresAt), sort: (grant) => grant.expiresAt },
      { title: "Actions", cell: (grant) => grant.state === "active" && revokeButton(grant, page) },
    ],
  });
}

function revokeButton(grant, page) {
  const ask = () => confirmed({ title: `Revoke the grant of “${grant.name}”?`, text: CONSEQUENCE, action: "Revoke" });
  const revoke = async () => {
    await page.api.del(`/api/grants/${grant.id}`);
    page.say(`The grant of “${grant.name}” is revoked.`);
    await page.again();
  };
  const attributes = { id: `revoke-${grant.id}`, class: "danger", "aria-label": `Revoke the grant of ${grant.name}` };
  return act(page, "Revoke", "Revoking…", revoke, attributes, ask);
}

const CONSEQUENCE =
  "Within a second no call starts on it. Calls under way finish; what was published and not called yet ends as failed " +
  "with grant_refused.";

async function create(page, workspaceId) {
  const names = await providerNames(page);
  const issued = await dialog("Create a grant", (close) => {
    const name = input({ required: true, maxlength: "64", placeholder: "nightly-summaries" });
    const boxes = names.map((provider) => el("input", { type: "checkbox", value: provider, id: `provider-${provider}` }));
    const days = select({}, LIFETIMES, "7");
    const submit = async () => {
      const providers = boxes.filter((box) => box.checked).map((box) => box.value);
      if (providers.length === 0) throw new Error("Choose at least one provider.");
      const expiresAt = new Date(new Date(ahead(days.value)) - MARGIN_MS).toISOString();
      close(await page.api.post("/api/grants", { name: name.value.trim(), providers, expiresAt, workspaceId }));
    };
    const choices = boxes.map((box) => el("label", { class: "check", for: box.id }, box, box.value));
    const covered = el("fieldset", {}, el("legend", {}, "It may use keys of"), choices);
    const rows = [field("Service", name), covered, field("It holds for", days)];
    return form({ rows, action: "Create", busy: "Creating…", submit, beside: button("Cancel", () => close()) });
  });
  if (!issued) return;
  await shownOnce(`The grant of “${issued.name}”`, issued.grant, ONCE);
  await page.again();
}
