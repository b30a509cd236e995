// A round's time, in milliseconds since it began. A recording's runs faster, stands, and jumps.

export class Clock {
  #base = performance.now();
  #passed = 0;
  #speed;

  constructor(speed = 1) {
    this.#speed = speed;
  }

  get now() {
    return this.#passed + (performance.now() - this.#base) * this.#speed;
  }

  get speed() {
    return this.#speed;
  }

  /** From now on `speed` times as fast; 0: it stands. */
  set speed(speed) {
    this.jump(this.now);
    this.#speed = speed;
  }

  jump(to) {
    this.#passed = to;
    this.#base = performance.now();
  }
}
