// Events to state. Pure: no clock, no page, no network; the same events at the same times give the
// same state, which is what a recording lives by.
//
// A *round* is one question and its answers. It has a *slot* for each model, and hears from one or
// more *runs*: a run is one stream of the service. Most rounds have one; asking one model again, or
// asking some with parameters of their own, makes further ones. Times are milliseconds since the
// round began, by the clock of whoever tells.

import { uniqueNames } from "./names.js";

export { uniqueNames };
export { historyFor } from "./turns.js";

/** Those in which more may come. */
const OPEN = new Set(["connecting", "queued", "thinking", "writing"]);
/** Changes of phase that are kept for the picture; a model that alternates more is drawn coarser. */
const MOST_PHASES = 60;

/** Whether more may come of the slot. */
export const isOpen = (slot) => OPEN.has(slot.state);

/**
 * A new round. `models`: [{id, parameters?, fallbacks?}], in the order of the cards; the same id may
 * come twice. */
export function newRound({ id, question, models, shared = {}, askedAt = null }) {
  const names = uniqueNames(models.map((model) => model.id));
  return {
    id,
    question,
    shared,
    askedAt,
    runs: [],
    log: [],
    slots: models.map((model, index) => ({
      ...blank(),
      index,
      name: names[index],
      requested: model.id,
      own: model.parameters ?? {},
      fallbacks: model.fallbacks ?? [],
      run: null,
      shift: 0,
      asks: 0,
    })),
  };
}

function blank() {
  return {
    state: "connecting",
    stopping: false, // the page's own: a stop has been asked for
    provider: null,
    parameters: null,
    simulated: false,
    ahead: null,
    stepsIn: null,
    text: "",
    reasoning: "",
    fraction: null,
    tokens: 0,
    words: null,
    trouble: null,
    facts: null,
    askedAt: null,
    thoughtAt: null,
    firstAt: null,
    endedAt: null,
    phases: [],
  };
}

/**
 * One thing that happened in a run, at `at`. Besides the service's events there are three of the
 * page's own: `asked` {slots}, before anything else of a run; `accepted` {comparison_id}; and how a
 * run ended without `complete`: `refused` {status, code, detail} or `cut` {reason}, whose
 * reason "stopped" is the reader's own.
 */
export function tell(round, run, event, at) {
  round.log.push([at, run, event]);
  if (event.type === "asked") return begin(round, run, event, at);
  const known = round.runs[run];
  if (!known?.open) return; // nothing comes after the end
  switch (event.type) {
    case "accepted":
      known.id = event.comparison_id;
      return;
    case "complete":
      known.metadata = event.metadata;
      return close(round, run, "lost", { code: "cut" }, at);
    case "cut":
      return close(round, run, event.reason === "stopped" ? "stopped" : "lost", { code: "cut", detail: event.reason }, at);
    case "refused":
      return close(round, run, "failed", { code: event.code, detail: event.detail }, at);
  }
  const slot = round.slots[known.names[event.model]];
  // A slot that has been asked anew meanwhile no longer listens to the old run.
  if (slot && slot.run === run && isOpen(slot)) hear(slot, event, at);
}

function begin(round, run, event, at) {
  const names = uniqueNames(event.slots.map((index) => round.slots[index].requested));
  round.runs[run] = {
    id: null,
    open: true,
    askedAt: at,
    metadata: null,
    // Without a prototype: a model may be called anything.
    names: Object.assign(
      Object.create(null),
      Object.fromEntries(names.map((name, place) => [name, event.slots[place]])),
    ),
  };
  for (const index of event.slots) {
    const slot = round.slots[index];
    Object.assign(slot, blank(), { run, askedAt: at, shift: at, asks: slot.asks + 1 });
    enter(slot, "connecting", at);
  }
}

function hear(slot, event, at) {
  switch (event.type) {
    case "start":
      slot.provider = event.provider ?? null;
      slot.parameters = event.parameters ?? null;
      slot.simulated = event.simulated === true;
      return;
    case "queued":
      slot.ahead = event.ahead;
      return enter(slot, "queued", at);
    case "fallback":
      slot.stepsIn = { asked: event.asked, code: event.code };
      slot.provider = event.provider ?? slot.provider;
      slot.parameters = event.parameters ?? slot.parameters;
      slot.simulated = event.simulated === true;
      return enter(slot, "connecting", at);
    case "reasoning":
      slot.thoughtAt ??= at;
      slot.reasoning += event.content;
      return enter(slot, "thinking", at);
    case "chunk":
      if (event.error) {
        slot.words = event.content;
        return;
      }
      slot.firstAt ??= at;
      slot.text += event.content;
      return enter(slot, "writing", at);
    case "progress":
      slot.fraction = event.fraction;
      slot.tokens = event.tokens;
      return;
    case "done":
      slot.facts = event;
      return end(slot, howItEnded(event), at);
  }
}

function howItEnded(done) {
  if (!done.error) return "done";
  return done.code === "cancelled" ? "stopped" : "failed";
}

function enter(slot, state, at) {
  if (slot.state === state && slot.phases.length > 0) return;
  slot.state = state;
  if (slot.phases.length < MOST_PHASES) slot.phases.push([state, at]);
}

function end(slot, state, at) {
  slot.state = state;
  slot.endedAt = at;
}

function close(round, run, state, trouble, at) {
  round.runs[run].open = false;
  for (const slot of round.slots) {
    if (slot.run !== run || !isOpen(slot)) continue;
    slot.trouble = trouble;
    slot.facts = null;
    end(slot, state, at);
  }
}

/** Milliseconds of the slot's answer so far; the service's own figure once there is one. */
export function lasted(slot, now) {
  if (slot.facts?.timings) return slot.facts.timings.duration_ms;
  return Math.max(0, (slot.endedAt ?? now) - (slot.askedAt ?? now));
}

/** Milliseconds to the first text, or null. */
export function firstTokenAfter(slot) {
  if (slot.facts?.timings) return slot.facts.timings.first_token_ms;
  return slot.firstAt === null ? null : slot.firstAt - slot.askedAt;
}

/** Tokens a second: the service's figure, or while it writes {value, estimated: true}, or null. */
export function pace(slot, now) {
  if (slot.facts) {
    const value = slot.facts.tokens_per_second ?? null;
    return value === null ? null : { value, estimated: slot.facts.usage?.estimated === true };
  }
  if (slot.firstAt === null) return null;
  const seconds = ((slot.endedAt ?? now) - slot.firstAt) / 1000;
  if (seconds < 0.4) return null; // a rate over less is noise
  return { value: slot.text.length / 4 / seconds, estimated: true };
}

/** Milliseconds of that for which the slot stood in its provider's line. */
export function inLine(slot, now) {
  if (slot.facts?.timings) return slot.facts.timings.queue_ms ?? 0;
  let waited = 0;
  slot.phases.forEach(([kind, at], place) => {
    if (kind !== "queued") return;
    waited += (slot.phases[place + 1]?.[1] ?? slot.endedAt ?? now) - at;
  });
  return waited;
}

/**
 * The figures of the whole: {wall, slowest, sum, line, speedup, cost, counts, measured}. Where one
 * stream answered everything they are the service's; else `measured` says that the page's clock and
 * sums stand in. Slots that were asked later count from then, as if all had begun together.
 *
 * `sum` is what one after another would have taken, so the time in line is not in it: nobody would
 * have stood before them. `line` is all that time.
 */
export function figures(round, now) {
  const slots = round.slots;
  const counts = { done: 0, failed: 0, stopped: 0, lost: 0, open: 0 };
  let wall = 0;
  let slowest = 0;
  let sum = 0;
  let line = 0;
  let cost = 0;
  for (const slot of slots) {
    counts[isOpen(slot) ? "open" : slot.state] += 1;
    const duration = lasted(slot, now);
    wall = Math.max(wall, (slot.endedAt ?? now) - slot.shift, duration);
    slowest = Math.max(slowest, duration);
    sum += duration;
    line += inLine(slot, now);
    if (isOpen(slot)) continue; // its cost is told at its end
    const price = slot.facts?.cost_usd ?? null;
    cost = cost === null || price === null ? null : cost + price;
  }
  const told = round.runs.length === 1 ? round.runs[0].metadata : null;
  if (told) {
    wall = told.processing_time_ms;
    slowest = told.slowest_model_ms;
    sum = told.sum_of_models_ms;
    cost = told.cost_usd;
  }
  sum = Math.max(0, sum - line);
  const speedup = told && line === 0 ? told.speedup : wall > 0 ? sum / wall : 1;
  return { wall, slowest, sum, line, speedup, cost, counts, measured: told === null };
}

/** Whether nothing more comes of the round by itself. */
export function isOver(round) {
  return round.runs.length > 0 && round.runs.every((run) => !run.open);
}

/** A round made again from its recording, as it was at `until`. */
export function replayed(recording, until = Infinity) {
  const round = newRound(recording);
  for (const [at, run, event] of recording.log) {
    if (at > until) break;
    tell(round, run, event, at);
  }
  return round;
}
