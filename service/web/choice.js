// Which models are asked, and with what: chosen in the dialogs, remembered by the browser.

import { recall, remember } from "./memory.js";
import { uniqueNames } from "./state.js";

/** The parameters of a question that are the service's own defaults, so never sent. */
export const DEFAULTS = { tier: "standard", mode: "all", priority: "fair" };

export class Choice {
  #listeners = [];

  constructor() {
    this.ids = recall("models", null);
    this.shared = recall("shared", {});
    this.own = recall("own", {});
    if (!Array.isArray(this.ids) || !this.ids.every((id) => typeof id === "string")) this.ids = null;
  }

  /** Whether nobody has chosen yet. */
  get isUntouched() {
    return this.ids === null;
  }

  /** Before anybody has chosen: not remembered, as a better list may come. */
  suggest(ids) {
    this.ids = ids;
    this.#tell();
  }

  set(ids) {
    this.ids = ids;
    remember("models", ids);
    this.#tell();
  }

  toggle(id) {
    this.set(this.ids.includes(id) ? this.ids.filter((other) => other !== id) : [...this.ids, id]);
  }

  /** Ask the same model once more: with parameters of its own it is another answer. */
  double(id) {
    this.set([...this.ids, id]);
  }

  removeAt(place) {
    this.set(this.ids.filter((_, other) => other !== place));
  }

  setShared(shared) {
    this.shared = shared;
    remember("shared", shared);
    this.#tell();
  }

  /** `name` as a card is called; {temperature?, top_p?, max_tokens?, fallbacks?}. */
  setOwn(name, own) {
    if (Object.keys(own).length > 0) this.own[name] = own;
    else delete this.own[name];
    remember("own", this.own);
    this.#tell();
  }

  /** The chosen as `newRound` takes them. */
  get models() {
    const names = uniqueNames(this.ids);
    return this.ids.map((id, place) => {
      const { fallbacks = [], ...parameters } = this.own[names[place]] ?? {};
      return { id, parameters, fallbacks };
    });
  }

  get names() {
    return uniqueNames(this.ids ?? []);
  }

  /** How many of the parameters are not as usual. */
  get changes() {
    const own = this.names.filter((name) => name in this.own).length;
    return Object.keys(this.shared).length + own;
  }

  /** Why the parameters can't hold together, as a sentence; null when they can. */
  get contradiction() {
    const apart = this.models.some((model) => Object.keys(model.parameters).length > 0);
    if (apart && (this.shared.mode === "first_k" || this.shared.max_cost_usd)) {
      return "“First answers only” and a cap on the cost count over one stream, and models with parameters of their own are asked in another. Use one or the other.";
    }
    return null;
  }

  onChange(listener) {
    this.#listeners.push(listener);
  }

  #tell() {
    for (const listener of this.#listeners) listener();
  }
}
