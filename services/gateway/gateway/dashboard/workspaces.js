/** Which workspace is meant: one's own, or for the operator any. */

import { dialog } from "./dialog.js";
import { button, field, select } from "./dom.js";
import { form, input } from "./form.js";

/** The workspace that the address names, else the caller's own. */
export const chosenWorkspace = (page) => page.params.get("workspace") ?? page.me.workspaceId;

/** For the operator a choice of workspaces and a way to create one; null for anybody else. */
export async function workspaceChoice(page) {
  if (!page.me.operator) return null;
  const found = await page.api.get("/api/workspaces");
  const options = found.map(({ id, name }) => [id, name]);
  const onchange = (event) => page.set({ workspace: event.target.value });
  return [
    field("Workspace", select({ id: "workspace", onchange }, options, chosenWorkspace(page))),
    button("New workspace", () => create(page), { id: "new-workspace" }),
  ];
}

async function create(page) {
  const made = await dialog("Create a workspace", (close) => {
    const name = input({ required: true, maxlength: "64" });
    const submit = async () => close(await page.api.post("/api/workspaces", { name: name.value.trim() }));
    const hint = "Keys, runs, batches and costs of one workspace are seen by no other.";
    const beside = button("Cancel", () => close());
    return form({ rows: [field("Name", name, hint)], action: "Create", busy: "Creating…", submit, beside });
  });
  if (!made) return;
  page.say(`Workspace “${made.name}” is created. Give its first admin a token.`);
  page.set({ workspace: made.id });
}
