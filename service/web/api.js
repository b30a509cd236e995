// The service's interface, as docs/contract.md has it.

import { Cut, SILENCE, readEvents, soon } from "./stream.js";

/** The service said no: `status`, `code`, and `message`, a sentence for people. */
export class Refused extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/** Milliseconds: a service that is ready says so at once. One that hangs takes connections and is silent. */
const READY_WITHIN = 5000;

const KEY = "compare-stream.key";
let askForKey = async () => false;

/** `ask` is called when a key is needed: it resolves to whether there is one now. */
export const onKeyNeeded = (ask) => {
  askForKey = ask;
};

/** Kept for this tab only, and forgotten with it. */
export function useKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

function headers(more) {
  const key = sessionStorage.getItem(KEY);
  return key === null ? more : { ...more, Authorization: `Bearer ${key}` };
}

/**
 * A response that is no refusal. Throws `Refused`; `Cut` when nobody is there, or nothing is answered
 * for as long as a stream may be silent; and what an abort throws.
 */
async function call(path, { method = "GET", body, signal } = {}) {
  for (;;) {
    const answer = fetch(path, {
      method,
      signal,
      headers: headers(body === undefined ? {} : { "Content-Type": "application/json" }),
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "omit",
      cache: "no-store",
    });
    const response = await soon(answer, SILENCE);
    if (response.ok) return response;
    const refused = await refusalOf(response);
    if (refused.status !== 401 || !(await askForKey(hasKey()))) throw refused;
  }
}

async function refusalOf(response) {
  let said = {};
  try {
    said = await response.json();
  } catch {
    // A proxy in between answers in its own way.
  }
  const detail = said?.detail ?? `The service answered with status ${response.status}.`;
  return new Refused(response.status, said?.code ?? "refused", String(detail));
}

/** What there is to choose from: the body of `GET /models`. */
export async function models() {
  return (await call("/models")).json();
}

/** Ask: {id, batches}, the second an iterable of arrays of events. Throws `Refused` or `Cut`. */
export async function ask(question, signal) {
  const response = await call("/compare-stream", { method: "POST", body: question, signal });
  return { id: response.headers.get("X-Comparison-Id"), batches: readEvents(response.body) };
}

/**
 * Stop one model, named as in the events, or all. False: the service runs nothing of that name; it
 * has just ended, or another process has it.
 */
export async function stop(comparison, model = null) {
  const path = `/comparisons/${encodeURIComponent(comparison)}`;
  try {
    await call(model === null ? path : `${path}/models/${encodeURIComponent(model)}`, {
      method: "DELETE",
    });
    return true;
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return false;
    throw error;
  }
}

/** Markdown as safe HTML, for `formatted.js` alone. */
export async function format(text, signal) {
  const response = await call("/format", { method: "POST", body: { text }, signal });
  return (await response.json()).html;
}

/** Whether the service takes on questions just now. */
export async function isReady() {
  try {
    const signal = AbortSignal.timeout(READY_WITHIN);
    return (await fetch("/readyz", { cache: "no-store", credentials: "omit", signal })).ok;
  } catch {
    return false;
  }
}
