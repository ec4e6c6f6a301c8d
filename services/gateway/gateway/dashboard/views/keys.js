/** Provider keys: connect, test, rotate, deactivate. A secret goes to the gateway once, and leaves the page at once. */

import { connectKey } from "../connect.js";
import { confirmed, dialog } from "../dialog.js";
import { badge, button, el, emptyState, fill } from "../dom.js";
import { act } from "../form.js";
import { count, moment, NONE } from "../format.js";
import { may } from "../navigation.js";
import { table } from "../table.js";

export const title = "Provider keys";

const STATES = { active: "good", expiring: "warn", expired: "bad", inactive: "" };

/** What the last test of a key said, until the page is loaded anew. */
const tried = new Map();

export async function show(root, page) {
  const keys = await page.api.get("/api/integrations/keys");
  const inUse = keys.filter((key) => key.isActive);
  const gone = keys.filter((key) => !key.isActive);
  fill(root, intro(page), listing(page, inUse), gone.length > 0 && deactivated(page, gone));
}

function intro(page) {
  const admin = may(page.me, "admin");
  const rest = admin ? "A key is tried at its provider before it is kept, and is stored encrypted." : "Only an admin changes them.";
  const connect = button("Connect a key", () => connecting(page), { id: "connect", class: "primary" });
  return el("div", { class: "lead" }, el("p", {}, `Runs use the newest active key of their provider. ${rest}`), admin && connect);
}

async function connecting(page, again = null) {
  if (await connectKey(page, again)) await page.again();
}

function listing(page, keys) {
  return table({
    id: "keys-in-use",
    caption: "Keys in use",
    hideCaption: true,
    columns: [
      ...described(),
      { title: "State", cell: (key) => stateOf(key), sort: (key) => key.state },
      ...used(),
      { title: "Expires", cell: (key) => (key.expiresAt ? moment(key.expiresAt) : "never"), sort: (key) => key.expiresAt },
      { title: "Actions", cell: (key) => actionsOf(key, page) },
    ],
    rows: keys,
    empty: emptyState(
      "No key is connected",
      "Connect one of OpenAI, Anthropic, or any other provider that your operator has set up. Then run a first prompt.",
    ),
  });
}

function deactivated(page, keys) {
  const shown = table({
    caption: "Deactivated keys",
    hideCaption: true,
    columns: [...described(), ...used(), { title: "Actions", cell: (key) => versionsButton(key, page) }],
    rows: keys,
  });
  return el("details", {}, el("summary", {}, `${count(keys.length)} deactivated`), shown);
}

function described() {
  return [
    { title: "Provider", cell: (key) => [key.provider, el("small", {}, key.name)], sort: (key) => key.provider },
    { title: "Key", cell: (key) => el("code", {}, ending(key)) },
  ];
}

function used() {
  const last = (key) => (key.usageCount === null ? NONE : key.lastUsedAt ? moment(key.lastUsedAt) : "never");
  return [
    { title: "Uses", number: true, cell: (key) => count(key.usageCount), sort: (key) => key.usageCount },
    { title: "Last used", cell: last, sort: (key) => key.lastUsedAt },
    { title: "Connected", cell: (key) => moment(key.createdAt), sort: (key) => key.createdAt },
  ];
}

/** Short secrets are shown without any of their characters. */
const ending = ({ preview }) => (preview ? `…${preview}` : "hidden");

function stateOf(key) {
  const trial = tried.get(key.id);
  const shown = trial ?? (key.verified ? null : { text: "cannot be tested", kind: "" });
  return el("div", { class: "badges" }, badge(key.state, STATES[key.state]), shown && badge(shown.text, shown.kind));
}

function actionsOf(key, page) {
  if (!may(page.me, "admin")) return versionsButton(key, page);
  const again = { provider: key.provider, name: key.name };
  return el(
    "div",
    { class: "row-actions" },
    act(page, "Test", "Testing…", () => test(key, page), named("Test", key)),
    button("Rotate", () => connecting(page, again), named("Rotate", key)),
    versionsButton(key, page),
    deactivateButton(key, page),
  );
}

const called = (key) => `${key.provider} key “${key.name}”`;

/** A name of its own for each button of a row; the id keeps the focus where it was. */
const named = (verb, key) => ({ id: `${verb.toLowerCase()}-${key.id}`, "aria-label": `${verb} ${called(key)}` });

async function test(key, page) {
  tried.set(key.id, await trial(key, page));
  await page.again();
}

async function trial(key, page) {
  try {
    const { verified } = await page.api.post(`/api/integrations/keys/${key.id}/check`);
    const text = verified ? "accepted just now" : "cannot be tested";
    page.say(`${called(key)}: ${verified ? "the provider accepts it." : "this provider has no way to test a key."}`);
    return { text, kind: verified ? "good" : "" };
  } catch (error) {
    if (error.code !== "invalid_api_key") throw error;
    page.say(`${called(key)}: the provider refuses it. Rotate it, or runs will fail.`, "bad");
    return { text: "refused just now", kind: "bad" };
  }
}

const CONSEQUENCE =
  "Every use of it stops at once, and for good. Runs of this provider then use its next newest key; without one they " +
  "fail with no_api_key, and its batches pause.";

function deactivateButton(key, page) {
  const ask = () => confirmed({ title: `Deactivate ${called(key)}?`, text: CONSEQUENCE, action: "Deactivate" });
  const deactivate = async () => {
    await page.api.del(`/api/integrations/keys/${key.id}`);
    page.say(`${called(key)} is deactivated.`);
    await page.again();
  };
  return act(page, "Deactivate", "Deactivating…", deactivate, { ...named("Deactivate", key), class: "danger" }, ask);
}

function versionsButton(key, page) {
  const attributes = { ...named("Versions", key), "aria-label": `Versions of ${called(key)}` };
  return act(page, "Versions", "Loading…", () => showVersions(key, page), attributes);
}

async function showVersions(key, page) {
  const { versions } = await page.api.get(`/api/integrations/keys/${key.id}`);
  const columns = [
    { title: "Version", number: true, cell: (version) => version.version },
    { title: "Key", cell: (version) => el("code", {}, ending(version)) },
    { title: "State", cell: (version) => badge(version.state, version.state === "active" ? "good" : "") },
    { title: "Accepted", cell: (version) => moment(version.activatedAt) },
    { title: "Replaced", cell: (version) => moment(version.retiredAt) },
    { title: "Expires", cell: (version) => (version.expiresAt ? moment(version.expiresAt) : "never") },
  ];
  const caption = "Versions, the newest first";
  dialog(`Versions of ${called(key)}`, () => table({ caption, hideCaption: true, rows: versions.toReversed(), columns }));
}
