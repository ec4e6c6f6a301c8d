/** Looking into rejected records, and replaying them: first without effect, then for good. */

import { confirmed, dialog } from "./dialog.js";
import { badge, el, fill } from "./dom.js";
import { act } from "./form.js";
import { bytes, count, moment } from "./format.js";
import { facts, table } from "./table.js";

const PAGE = 100;
const SHOWN = 200;
const OUTCOMES = {
  would_be: ["would be replayed", "good"],
  replayed: ["replayed", "good"],
  already_replayed: ["was replayed before", ""],
  already_accepted: ["was accepted meanwhile", ""],
  cannot_be_replayed: ["cannot be replayed", "bad"],
};

/** Show what a record holds, but for its texts, and let it be replayed alone. */
export async function lookInto(record, page) {
  const found = await page.api.get(`/api/rejected/${record.offset}`);
  const shown = dialog("A rejected record", (close) => {
    const said = el("div", { class: "stack", role: "status" });
    return [
      facts([
        ["Why", found.reason],
        ["Rejected", moment(found.rejectedAt)],
        ["Run", found.runId && el("code", {}, found.runId)],
        ["Workspace", found.workspaceId && el("code", {}, found.workspaceId)],
        ["Came from", `${found.topic}, partition ${found.partition}, offset ${found.originOffset}`],
        ["Size", bytes(found.size)],
      ]),
      fieldsOf(found),
      said,
      el("div", { class: "actions" }, replayButtons(page, { offset: record.offset }, said, () => close(true))),
    ];
  });
  shown.then((changed) => changed && page.again()); // the button that asked for it is not busy meanwhile
}

/** The panel that replays everything that fits the filters. */
export function replayPanel(page, asked) {
  const said = el("div", { class: "stack", role: "status" });
  return el(
    "section",
    { class: "panel" },
    el("h2", {}, "Replay all that fit"),
    el("p", { class: "hint" }, "A run is published again under its own id, with a fresh grant. Repeating it makes no second run."),
    el("div", { class: "actions" }, replayButtons(page, asked, said)),
    said,
  );
}

function fieldsOf({ fields, fault }) {
  if (fault) return el("p", { class: "refused" }, `Its bytes are not shown: ${fault}.`);
  return table({
    caption: "What it holds: texts, and what we do not know, are told by their size alone",
    rows: fields,
    columns: [
      { title: "Field", cell: (one) => el("code", {}, one.name) },
      { title: "Value", cell: valueOf, wide: true },
    ],
  });
}

function valueOf({ value, size }) {
  return value === null ? el("small", {}, `withheld, ${bytes(size)}`) : el("code", {}, value);
}

function replayButtons(page, asked, said, done = () => {}) {
  const tried = async () => fill(said, outcomes(await replay(page, asked, true, said)));
  const ask = () => confirmed({ title: "Replay for good?", text: CONSEQUENCE, action: "Replay", kind: "primary" });
  const forGood = async () => {
    const result = await replay(page, asked, false, said);
    fill(said, outcomes(result));
    page.say(`${count(result.counts.replayed)} replayed.`, result.counts.cannot_be_replayed ? "bad" : "good");
    done();
  };
  return [
    act(page, "Try it (dry run)", "Asking…", tried, { class: "dry-run" }),
    act(page, "Replay…", "Replaying…", forGood, { class: "primary replay" }, ask),
  ];
}

const CONSEQUENCE =
  "What can be replayed is published: runs are called and paid with the keys of the workspaces that they name. " +
  "What was replayed before is not replayed again.";

/** Go through all pages of what fits; answers what became of each record, or would. */
async function replay(page, asked, dryRun, said) {
  const result = { dryRun, records: [], counts: {} };
  for (let cursor = null; ; ) {
    const wanted = { ...asked, dryRun, limit: PAGE, cursor };
    const { records, counts, nextCursor } = await page.api.post("/api/rejected/replay", wanted);
    result.records.push(...records);
    for (const [name, number] of Object.entries(counts)) result.counts[name] = (result.counts[name] ?? 0) + number;
    fill(said, el("p", {}, `${count(result.records.length)} records looked at…`));
    if (!nextCursor) return result;
    cursor = nextCursor;
  }
}

function outcomes({ dryRun, records, counts }) {
  const meant = (name) => OUTCOMES[dryRun && name === "replayed" ? "would_be" : name];
  const told = Object.entries(counts).filter(([, number]) => number > 0);
  const words = told.map(([name, number]) => `${count(number)} ${meant(name)[0]}`);
  return [
    el("p", {}, el("strong", {}, dryRun ? "Dry run, nothing was published: " : "Done: "), `${words.join(", ") || "no record fits"}.`),
    records.length > 0 && table({
      caption: records.length > SHOWN ? `The first ${SHOWN} of ${count(records.length)}` : "What becomes of each",
      rows: records.slice(0, SHOWN),
      columns: [
        { title: "Offset", number: true, cell: (record) => record.offset },
        { title: "Run", cell: (record) => record.runId ? el("code", {}, record.runId) : "–" },
        { title: "Outcome", cell: (record) => badge(...meant(record.outcome)) },
        { title: "Why", cell: (record) => record.why, wide: true },
      ],
    }),
  ];
}
