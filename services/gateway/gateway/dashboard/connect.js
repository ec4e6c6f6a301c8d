/** Connecting a provider key: the field is emptied before the request leaves, and never filled again. */

import { dialog } from "./dialog.js";
import { button, el, field, select } from "./dom.js";
import { form, input } from "./form.js";

/** Ask for a key in a dialog, or for the next secret of the one named by `again`; answers whether it was kept. */
export async function connectKey(page, again = null) {
  const providers = again ? [again.provider] : await providerNames(page);
  const heading = again ? `New secret for ${again.provider} key “${again.name}”` : "Connect a provider key";
  const done = await dialog(heading, (close) => {
    const beside = button("Cancel", () => close(false));
    return connectForm(page, { providers, again, beside, kept: () => close(true) });
  });
  return done === true;
}

/** The names of the providers that keys can be connected for. */
export async function providerNames(page) {
  return (await page.api.get("/api/providers")).map((provider) => provider.name);
}

/** The form itself; `kept(provider)` is called once the provider has accepted the key. */
export function connectForm(page, { providers, again = null, beside = null, kept }) {
  const provider = select({ disabled: Boolean(again) }, providers, again?.provider ?? providers[0]);
  const name = input({ value: again?.name ?? "default", required: true, maxlength: "64", disabled: Boolean(again) });
  const secret = input({ type: "password", required: true, maxlength: "4096", autofocus: Boolean(again) });
  const expires = el("input", { type: "date", min: new Date().toISOString().slice(0, 10) });
  const submit = async () => {
    const asked = { provider: provider.value, name: name.value.trim(), apiKey: secret.value, expiresAt: endOf(expires.value) };
    secret.value = "";
    await page.api.post("/api/integrations/connect", asked);
    page.say(`${asked.provider} accepted the key. Runs use it from now on.`);
    kept(asked.provider);
  };
  const rows = [
    field("Provider", provider),
    field("Name", name, again ? null : "A new name adds a key, the same name replaces that key's secret."),
    field("API key", secret, "It is tried at the provider's list of models, which costs nothing, and never shown again."),
    field("Last day (optional)", expires, "After it no run uses the key. The list warns two weeks ahead."),
  ];
  return form({ rows, action: again ? "Rotate" : "Connect", busy: "Asking the provider…", submit, beside });
}

/** The end of a day here, as a moment; null of none. */
const endOf = (day) => (day ? new Date(`${day}T23:59:59`).toISOString() : null);
