/** Getting started: a key, a first run, its answer and what that cost. */

import { connectForm, providerNames } from "../connect.js";
import { badge, el, field, fill, link, select } from "../dom.js";
import { form } from "../form.js";
import { count, duration, exactMoney } from "../format.js";
import { may } from "../navigation.js";
import { facts } from "../table.js";

export const title = "Get started";

const FIRST_PROMPT = "Name three rivers that flow through more than one country, and say which countries.";

export async function show(root, page) {
  const keys = (await page.api.get("/api/integrations/keys")).filter((key) => key.isActive);
  fill(
    root,
    el("p", {}, "Run prompts on your own keys, at any volume, and know what every one cost. Two steps show how."),
    step(1, "Connect a provider key", keys.length > 0, await connectStep(page, keys)),
    step(2, "Run a first prompt", false, await runStep(page, keys)),
    step(3, "Go on", false, nextSteps(page)),
  );
}

function step(number, heading, done, ...content) {
  const said = done && badge("done", "good");
  return el("section", { class: "panel step" }, el("header", {}, el("h2", {}, `${number}. ${heading}`), said), content);
}

async function connectStep(page, keys) {
  if (keys.length > 0) {
    const names = [...new Set(keys.map((key) => key.provider))].join(", ");
    return el("p", {}, `Connected: ${names}. `, link("#keys", "Manage keys"));
  }
  if (!may(page.me, "admin")) return el("p", {}, "No key is connected yet. Ask an admin of your workspace to connect one.");
  return connectForm(page, { providers: await providerNames(page), kept: () => page.again() });
}

async function runStep(page, keys) {
  if (keys.length === 0) return el("p", { class: "soft" }, "Once a key is connected, a prompt can be run here.");
  if (!may(page.me, "member")) return el("p", {}, "Your role reads only. A member runs prompts.");
  const models = await page.api.get("/api/models");
  const model = modelChoice(models, keys);
  const prompt = el("textarea", { id: "prompt", rows: "4", required: true, value: FIRST_PROMPT });
  const result = el("div", { class: "stack", role: "status" });
  const submit = async () => {
    fill(result);
    fill(result, answerView(await run(page, model.value(), prompt.value)));
  };
  return [form({ rows: [model.node, field("Prompt", prompt)], action: "Run it", busy: "Running…", submit }), result];
}

/** A choice of the models with a known price, the cheapest first: a first run should cost next to nothing. */
function modelChoice(models, keys) {
  if (models.length === 0) return typedModel(keys);
  const cost = (model) => (model.output === null ? Infinity : Number(model.input) + Number(model.output));
  const sorted = models.toSorted((a, b) => cost(a) - cost(b));
  const chosen = select({ id: "model" }, sorted.map(({ model }) => model), preferred(sorted));
  const price = el("span", { class: "hint" });
  const tell = () => fill(price, priceOf(models.find(({ model }) => model === chosen.value)));
  chosen.addEventListener("change", tell);
  tell();
  return { node: el("div", { class: "field" }, field("Model", chosen), price), value: () => split(chosen.value) };
}

/** Small and well known, if there; else the cheapest. */
const preferred = (models) =>
  ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"].find((name) => models.some(({ model }) => model === name)) ?? models[0].model;

function priceOf({ input, output }) {
  if (input === null) return "Its price is not known: its runs are shown as unpriced.";
  return `${exactMoney(input)} for a million tokens in, ${exactMoney(output)} for a million out.`;
}

/** Providers outside the price catalogue have no list: the model is typed. */
function typedModel(keys) {
  const typed = el("input", { id: "model", required: true, placeholder: "llama-3.3-70b" });
  const hint = `A model of ${keys[0].provider}, as that calls it.`;
  return { node: field("Model", typed, hint), value: () => ({ provider: keys[0].provider, model: typed.value.trim() }) };
}

function split(name) {
  const slash = name.indexOf("/");
  return { provider: name.slice(0, slash), model: name.slice(slash + 1) };
}

async function run(page, { provider, model }, text) {
  return page.api.post("/api/integrations/run", { provider, model, input: text, promptId: "first-run" });
}

function answerView(run) {
  return el(
    "article",
    { class: "answer" },
    el("h3", {}, "Its answer"),
    el("pre", {}, run.output),
    facts([
      ["It cost", run.cost === null ? "unpriced" : el("strong", {}, exactMoney(run.cost))],
      ["Tokens in", count(run.inputTokens)],
      ["Tokens out", count(run.outputTokens)],
      ["It took", duration(run.latency)],
      ["Model", run.model],
    ]),
    el("p", {}, link(`#run?id=${run.runId}`, "See this run"), " · ", link("#overview", "See it in the overview")),
  );
}

function nextSteps(page) {
  return el(
    "ul",
    {},
    may(page.me, "member") && el("li", {}, link("#batches?new=1", "Run a batch"), ": a file of requests, its price before, its cost while it runs."),
    may(page.me, "admin") && el("li", {}, link("#tokens", "Give your services tokens"), ": costs are grouped by whose token it was."),
    el("li", {}, el("a", { href: "/openapi.json" }, "Call the API"), ", or point OpenAI's or Anthropic's client at this server."),
  );
}
