/** The gateway's API, under the session that the browser holds. */

/** What the API refused: its stable `code`, what to do in `message`, and the HTTP `status` (0: it was not reached). */
export class ApiError extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/**
 * Read JSON; amounts of money (`…cost…`, `…savings…`) come as strings with every digit that was sent, where the browser
 * tells them: a number would round. Everything that shows or compares them takes either.
 */
export function parse(text) {
  return JSON.parse(text, (key, value, context) =>
    typeof value === "number" && MONEY.test(key) ? (context?.source ?? String(value)) : value,
  );
}

/** Return an address of the API; `params` is an object (lists repeat the name, null is left out) or URLSearchParams. */
export function address(path, params = {}) {
  const query = params instanceof URLSearchParams ? params : queryOf(params);
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export const api = {
  /** Answer `data` of `GET path`. */
  get: (path, params, { signal } = {}) => call("GET", address(path, params), undefined, signal),
  /** Answer `data` (or all of an answer without any) of `POST path` with this JSON; a Blob or FormData goes as it is. */
  post: (path, body = {}, { signal, headers } = {}) => call("POST", path, body, signal, headers),
  del: (path, { signal } = {}) => call("DELETE", path, undefined, signal),
  stream,
};

/** Yield each line of a JSON Lines answer while it arrives. */
async function* stream(path, params, { signal } = {}) {
  const answer = await reach(address(path, params), { signal });
  if (!answer.ok) throw refusal(answer, await answer.text());
  let rest = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.trim()) yield parse(line);
  }
  if (rest.trim()) yield parse(rest);
}

const MONEY = /cost|savings/i;

function queryOf(params) {
  const pairs = Object.entries(params).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  return new URLSearchParams(pairs.filter(([, value]) => value !== null && value !== undefined && value !== ""));
}

async function call(method, url, body, signal, more = {}) {
  const raw = body === undefined || body instanceof Blob || body instanceof FormData;
  const headers = raw ? more : { "content-type": "application/json", ...more };
  const answer = await reach(url, { method, headers, body: raw ? body : JSON.stringify(body), signal });
  const text = await answer.text();
  if (!answer.ok) throw refusal(answer, text);
  const content = text ? parse(text) : {};
  return "data" in content ? content.data : content;
}

async function reach(url, options) {
  try {
    return await fetch(url, { credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached.", "unreachable", 0);
  }
}

function refusal(answer, text) {
  let said = {};
  try {
    said = JSON.parse(text);
  } catch {
    // a proxy's own page, say
  }
  if (said.error?.message) return new ApiError(said.error.message, said.error.code ?? said.error.type, answer.status);
  return new ApiError(said.error ?? `The server answered ${answer.status}.`, said.code ?? "unknown", answer.status);
}
