/** How much of the product is used: people, keys, models. */

import { card } from "../change.js";
import { el, fill, link } from "../dom.js";
import { count, money } from "../format.js";

/** Make the panel; it is of whole UTC days, so that there is none for days of one's own and for filters. */
export function productPanel(page, question, rolledUp) {
  const cards = el("dl", { class: "cards" });
  const header = el("header", {}, el("h2", {}, "Who uses it"), el("span", { class: "soft" }, "by days of UTC"));
  const root = rolledUp ? el("section", { class: "panel" }, header, cards) : null;
  const update = async () => {
    if (!root) return;
    try {
      fill(cards, cardsOf(page, question, await page.api.get("/api/analytics/product", { period: question.period })));
    } catch (error) {
      if (error.name !== "AbortError") fill(cards, el("div", { class: "card" }, el("dt", {}, "Not known"), el("dd", { class: "more" }, error.message)));
    }
  };
  return { root, update };
}

function cardsOf(page, question, product) {
  const keys = product.keysConnected;
  const providers = keys && Object.entries(keys.byProvider).map(([name, number]) => `${count(number)} ${name}`).join(" · ");
  const nameless = product.runsWithoutUser > 0 && `${count(product.runsWithoutUser)} runs name no user`;
  return [
    card("Users", link(page.href("explore", { ...question, by: "user" }), count(product.users)), nameless),
    card("Cost per user", money(product.costPerUser)),
    card("Runs a day", count(Math.round(product.runsADay * 10) / 10)),
    card("Models used", link(page.href("explore", { ...question, by: "model" }), count(product.models.length))),
    card("Keys connected", link(page.href("keys"), keys ? count(keys.total) : "–"), keys ? providers || null : "the vault cannot be asked"),
  ];
}
