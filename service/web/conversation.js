// Rounds that follow each other, and the streams that fill them. Knows the service and the state, and
// no element: `changed` is called whenever something may have to be drawn.

import { Refused, ask, stop } from "./api.js";
import { Clock } from "./clock.js";
import { rememberSpeed } from "./memory.js";
import { historyFor, isOpen, isOver, newRound, tell, uniqueNames } from "./state.js";

/** Milliseconds within which a stop shows in the stream; else the stream is left, which stops too. */
const STOP_SHOWS = 2000;

export const newId = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

export class Conversation {
  id = newId();
  rounds = [];
  clock = new Clock();
  #controllers = new Map();
  #stops = new Map();

  /** `changed()`, `ended(round)`, `cut(round, reason)`, `refused(round, error)` are called. */
  constructor(listener) {
    this.listener = listener;
  }

  get round() {
    return this.rounds.at(-1) ?? null;
  }

  get isRunning() {
    return this.round !== null && !isOver(this.round);
  }

  /** What a question's models are reminded of: the rounds before `round`. */
  before(round) {
    return this.rounds.slice(0, this.rounds.indexOf(round));
  }

  /** Begin a round. Its cards can be shown at once. */
  ask({ question, models, shared }) {
    this.clock = new Clock();
    const round = newRound({ id: newId(), question, models, shared, askedAt: new Date().toISOString() });
    this.rounds.push(round);
    for (const slots of together(round.slots)) this.#run(round, slots, shared);
    return round;
  }

  /** Ask `slots` of the last round again, each from the beginning. */
  again(slots) {
    const { round } = this;
    if (isOver(round)) this.clock.jump(Math.max(this.clock.now, round.log.at(-1)?.[0] ?? 0));
    // Who asks for one more does not want it stopped because others have finished.
    const shared = { ...round.shared, mode: undefined, k: undefined };
    for (const group of together(slots.filter((slot) => !isOpen(slot)))) this.#run(round, group, shared);
  }

  async #run(round, slots, shared) {
    const number = round.runs.length;
    const controller = new AbortController();
    const { clock } = this;
    const hear = (event) => tell(round, number, event, clock.now);
    this.#controllers.set(key(round, number), controller);
    hear({ type: "asked", slots: slots.map((slot) => slot.index) });
    this.listener.changed();
    try {
      const { id, batches } = await ask(this.#body(round, slots, shared), controller.signal);
      hear({ type: "accepted", comparison_id: id });
      this.#stopWhatWaits(round, number);
      for await (const events of batches) {
        for (const event of events) hear(event);
        this.listener.changed();
      }
      this.#cut(round, number, hear, "closed");
    } catch (error) {
      if (error instanceof Refused) {
        hear({ type: "refused", status: error.status, code: error.code, detail: error.message });
        this.listener.refused(round, error);
      } else if (error.name === "AbortError") hear({ type: "cut", reason: "stopped" });
      else this.#cut(round, number, hear, error.reason ?? "network");
    } finally {
      controller.abort(); // a question that was not answered in time must not be answered later
      this.#controllers.delete(key(round, number));
      this.#stops.delete(key(round, number));
      for (const slot of slots) if (slot.state === "done") rememberSpeed(slot.requested, slot.facts.timings.duration_ms);
      this.listener.changed();
      if (isOver(round)) this.listener.ended(round);
    }
  }

  /** The stream is over; if `complete` has come, in order. */
  #cut(round, number, hear, reason) {
    if (!round.runs[number].open) return;
    hear({ type: "cut", reason });
    this.listener.cut(round, reason);
  }

  #body(round, slots, shared) {
    const { system, ...parameters } = shared;
    const names = uniqueNames(slots.map((slot) => slot.requested));
    const fallbacks = Object.fromEntries(
      slots.map((slot, place) => [names[place], slot.fallbacks]).filter(([, others]) => others.length > 0));
    return {
      input_data: round.question,
      models: slots.map((slot) => slot.requested),
      conversation_history: historyFor(this.before(round), slots, system),
      ...parameters,
      ...slots[0].own,
      ...(Object.keys(fallbacks).length > 0 ? { fallbacks } : {}),
    };
  }

  /** Stop one slot, or with null all that are open. */
  stop(slot = null) {
    const { round } = this;
    if (!round) return;
    round.runs.forEach((run, number) => {
      if (!run.open || (slot && slot.run !== number)) return;
      const open = round.slots.filter((each) => each.run === number && isOpen(each));
      const stopped = slot ? open.filter((each) => each === slot) : open;
      for (const each of stopped) each.stopping = true;
      // The last one that is open is all of them: the stream can be left then.
      const name = slot && open.length > 1 ? Object.keys(run.names).find((each) => run.names[each] === slot.index) : null;
      this.#stop(round, number, name ?? null, stopped);
    });
    this.listener.changed();
  }

  /** `name` null: all of the run. Those of `slots` show that they are being stopped. */
  async #stop(round, number, name, slots) {
    const run = round.runs[number];
    const controller = this.#controllers.get(key(round, number));
    if (run.id === null) {
      // The service has not answered yet, so nothing has a name there.
      if (name === null) return controller?.abort();
      const waiting = this.#stops.get(key(round, number)) ?? [];
      this.#stops.set(key(round, number), [...waiting, [name, slots]]);
      return;
    }
    // Before the service is asked: it may not answer.
    if (name === null) setTimeout(() => controller?.abort(), STOP_SHOWS);
    try {
      await stop(run.id, name);
    } catch {
      if (name !== null) for (const slot of slots) slot.stopping = false; // it can be tried again
    }
  }

  #stopWhatWaits(round, number) {
    for (const [name, slots] of this.#stops.get(key(round, number)) ?? []) this.#stop(round, number, name, slots);
    this.#stops.delete(key(round, number));
  }

  /** Leave whatever still runs: the page is about to show something else. */
  leave() {
    for (const controller of this.#controllers.values()) controller.abort();
  }

  /** Take the last round back: it was refused before anything came of it. */
  takeBack(round) {
    this.rounds = this.rounds.filter((other) => other !== round);
  }
}

const key = (round, number) => `${round.id} ${number}`;

/**
 * Slots by the stream they share: the service takes one temperature for all of a question, so a
 * model with parameters of its own is asked in a question of its own, at the same moment.
 */
function together(slots) {
  const groups = new Map();
  for (const slot of slots) {
    const own = JSON.stringify(Object.entries(slot.own).sort());
    groups.set(own, [...(groups.get(own) ?? []), slot]);
  }
  return [...groups.values()];
}
