// The dialog that sets two answers side by side.

import { difference, likeness } from "./diff.js";
import { $, el, openDialog, put } from "./dom.js";

export class Differences {
  constructor() {
    this.dialog = $("differences");
    for (const id of ["left-model", "right-model"]) $(id).addEventListener("change", () => this.#draw());
    $("swap").addEventListener("click", () => {
      [$("left-model").value, $("right-model").value] = [$("right-model").value, $("left-model").value];
      this.#draw();
    });
  }

  /** Over the answers of `round`; `first` is preferred on the left. */
  open(round, first) {
    this.slots = round.slots.filter((slot) => slot.text !== "");
    if (this.slots.length < 2) return false;
    for (const id of ["left-model", "right-model"]) {
      $(id).replaceChildren(...this.slots.map((slot) => el("option", { value: slot.index }, slot.name)));
    }
    const left = this.slots.includes(first) ? first : this.slots[0];
    $("left-model").value = left.index;
    $("right-model").value = this.slots.find((slot) => slot !== left).index;
    this.#draw();
    openDialog(this.dialog);
    return true;
  }

  #draw() {
    const [left, right] = ["left-model", "right-model"].map((id) =>
      this.slots.find((slot) => slot.index === Number($(id).value)));
    const parts = difference(left.text, right.text);
    put($("likeness"), left === right
      ? "The same answer twice: choose another on one side."
      : `${Math.round(100 * likeness(parts))} % of the words are in both, in the same order.`);
    $("left-text").replaceChildren(...side(parts, "left", "del"));
    $("right-text").replaceChildren(...side(parts, "right", "ins"));
  }
}

const side = (parts, kind, tag) =>
  parts.filter((part) => part.kind === "same" || part.kind === kind)
    .map(({ kind: is, text }) => (is === "same" ? text : el(tag, {}, text)));
