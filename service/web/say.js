// What a screen reader is told: short sentences, gathered, never what the models write.

import { $, put } from "./dom.js";
import { figures, isOpen, isOver, lasted } from "./state.js";
import { counted, spokenSeconds, STATES, trouble } from "./words.js";

/** Milliseconds between two announcements: long enough to be read to the end. */
const BETWEEN = 1500;

const waiting = [];
let timer = null;

/** Have `sentence` read when there is room. */
export function say(sentence) {
  waiting.push(sentence);
  timer ??= setTimeout(flush, 150);
}

function flush() {
  // Emptied first, as a reader keeps quiet about a text that is the same.
  put($("said"), "");
  put($("said"), waiting.splice(0).join(" "));
  timer = setTimeout(() => {
    timer = null;
    if (waiting.length > 0) flush();
  }, BETWEEN);
}

/** Follows a round, and says what has changed since it last looked. */
export class Reporter {
  #states = [];
  #over = true;

  follow(round) {
    this.#states = round.slots.map(() => "");
    this.#over = false;
    say(`${counted(round.slots.length, "model")} asked.`);
  }

  look(round, now) {
    round.slots.forEach((slot, place) => {
      const before = this.#states[place];
      if (slot.state === before) return;
      this.#states[place] = slot.state;
      if (before === "" || isOpen(slot)) return;
      const after = slot.state === "done" ? ` after ${spokenSeconds(lasted(slot, now))}` : "";
      say(`${slot.name}: ${STATES[slot.state]}${after}.${slot.state === "failed" ? ` ${trouble(slot).what}` : ""}`);
    });
    const over = isOver(round);
    if (over && !this.#over) say(closing(round, now));
    this.#over = over;
  }
}

function closing(round, now) {
  const { counts, wall, speedup } = figures(round, now);
  const rest = counts.failed + counts.stopped + counts.lost;
  const speed = round.slots.length > 1 ? `, ${speedup.toFixed(1)} times faster than one after another` : "";
  return `${counts.done} done${rest > 0 ? `, ${rest} not` : ""}, in ${spokenSeconds(wall)}${speed}.`;
}
