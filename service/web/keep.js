// Conversations kept in this browser (IndexedDB), with every event and its time: what can be opened,
// played again, or thrown away. Nothing of it is sent anywhere.

const DATABASE = "compare-stream";
/** What a list shows of each, and apart from it what was said, which is a thousand times as much. */
const HEADS = "heads";
const BODIES = "bodies";
/** Older ones are thrown away; at about half a megabyte each that is what a browser gives freely. */
const MOST_KEPT = 100;

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => {
      for (const store of [HEADS, BODIES]) request.result.createObjectStore(store, { keyPath: "id" });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** One transaction over both; `work` makes its requests at once, and the last one's result is told. */
async function inStores(mode, work) {
  const database = await opened();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction([HEADS, BODIES], mode);
      const request = work(transaction.objectStore(HEADS), transaction.objectStore(BODIES));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

/** A round as it is kept: what was asked, and all that happened. `state.replayed` reads it. */
export function recordingOf(round) {
  return {
    id: round.id,
    question: round.question,
    askedAt: round.askedAt,
    shared: round.shared,
    models: round.slots.map((slot) => ({ id: slot.requested, parameters: slot.own, fallbacks: slot.fallbacks })),
    log: round.log,
  };
}

/** Keep the conversation `id` as it is now. Throws where the browser keeps nothing. */
export async function keep(id, rounds) {
  const head = {
    id,
    at: Date.now(),
    question: rounds[0].question.slice(0, 300),
    models: rounds[0].slots.map((slot) => slot.requested),
    rounds: rounds.length,
  };
  const body = { id, rounds: rounds.map(recordingOf) };
  await inStores("readwrite", (heads, bodies) => {
    heads.put(head);
    return bodies.put(body);
  });
  for (const old of (await kept()).slice(MOST_KEPT)) await forget(old.id);
}

/** The heads of all conversations, the newest first: {id, at, question, models, rounds}. */
export async function kept() {
  const all = await inStores("readonly", (heads) => heads.getAll());
  return all.sort((a, b) => b.at - a.at);
}

/** All of one: {id, rounds}, each round a recording. */
export const recalled = (id) => inStores("readonly", (_, bodies) => bodies.get(id));

export const forget = (id) =>
  inStores("readwrite", (heads, bodies) => {
    heads.delete(id);
    return bodies.delete(id);
  });

export const forgetAll = () =>
  inStores("readwrite", (heads, bodies) => {
    heads.clear();
    return bodies.clear();
  });

/**
 * A recording from a file's text, looked over: a stranger may have written it. Throws `Error` with
 * a sentence for people.
 */
export function recordingFrom(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("This file is not JSON.");
  }
  const recording = file?.recording;
  const isRight =
    typeof recording?.question === "string" &&
    Array.isArray(recording.models) && recording.models.length > 0 && recording.models.length <= 64 &&
    recording.models.every((model) => typeof model?.id === "string") &&
    Array.isArray(recording.log) && recording.log.every((entry) => isEntry(entry, recording.models.length));
  if (!isRight) throw new Error("This file is no recording of a comparison.");
  return {
    id: crypto.randomUUID?.() ?? String(Date.now()),
    question: recording.question,
    askedAt: typeof recording.askedAt === "string" ? recording.askedAt : null,
    shared: {},
    models: recording.models.map((model) => ({ id: model.id })),
    log: recording.log,
  };
}

const TEXT_IN = { chunk: "content", reasoning: "content" };

function isEntry(entry, models) {
  if (!Array.isArray(entry)) return false;
  const [at, run, event] = entry;
  if (!Number.isFinite(at) || at < 0 || !Number.isInteger(run) || run < 0 || run > 999) return false;
  if (typeof event?.type !== "string") return false;
  if (Object.hasOwn(TEXT_IN, event.type) && typeof event[TEXT_IN[event.type]] !== "string") return false;
  if (event.type === "asked") {
    return Array.isArray(event.slots) && event.slots.every((slot) => Number.isInteger(slot) && slot >= 0 && slot < models);
  }
  if (event.type === "done") return isDone(event);
  if (event.type === "complete") return FIGURES.every((name) => Number.isFinite(event.metadata?.[name])) && isNumberOrNull(event.metadata.cost_usd);
  return true;
}

const FIGURES = ["processing_time_ms", "slowest_model_ms", "sum_of_models_ms", "speedup"];

const isNumberOrNull = (value) => value === null || Number.isFinite(value);

const isStringOrNothing = (value) => value === null || value === undefined || typeof value === "string";

function isDone({ timings, usage, cost_usd, tokens_per_second, attempts, code, stopped_by, finish_reason }) {
  return [code, stopped_by, finish_reason].every(isStringOrNothing) &&
    Number.isFinite(timings?.duration_ms) && isNumberOrNull(timings.first_token_ms) &&
    (usage === null || Number.isFinite(usage?.reasoning_tokens)) &&
    isNumberOrNull(cost_usd) && isNumberOrNull(tokens_per_second) && Number.isFinite(attempts);
}
