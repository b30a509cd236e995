// A recording, played again with its timing: the same events at the same times, into a state of its
// own. Knows no element; `changed` is called once a frame while it plays.

import { Clock } from "./clock.js";
import { isOver, newRound, tell } from "./state.js";

/** Milliseconds to which a pause is shortened in which nothing was running. */
const PAUSE = 800;

export class Player {
  #next = 0;

  constructor(recording, speed = 1) {
    this.recording = recording;
    this.round = newRound(recording);
    this.clock = new Clock(speed);
  }

  get isOver() {
    return this.#next >= this.recording.log.length;
  }

  /** Tell what is due by now. */
  step() {
    const { log } = this.recording;
    const before = log[this.#next]?.[0] ?? 0;
    if (!this.isOver && isOver(this.round) && before - this.clock.now > PAUSE) this.clock.jump(before - PAUSE);
    this.#tellUntil(this.clock.now);
    if (this.isOver) this.clock.speed = 0;
  }

  /** To the end at once. */
  finish() {
    this.#tellUntil(Infinity);
    this.clock.jump(this.recording.log.at(-1)?.[0] ?? 0);
    this.clock.speed = 0;
  }

  #tellUntil(time) {
    const { log } = this.recording;
    while (this.#next < log.length && log[this.#next][0] <= time) {
      const [at, run, event] = log[this.#next];
      tell(this.round, run, event, at);
      this.#next += 1;
    }
  }
}
