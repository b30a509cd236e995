// The dialog of what was asked before, in this browser.

import { $, el, openDialog, put } from "./dom.js";
import { forget, forgetAll, keep, kept, recalled, recordingFrom } from "./keep.js";
import { recall, remember } from "./memory.js";
import { counted, shortName } from "./words.js";

export class History {
  /** `open(conversation)` and `play(recording)` are called with what is chosen. */
  constructor({ open, play }) {
    this.dialog = $("history");
    this.open_ = open;
    this.play = play;
    const keeping = $("keeping");
    keeping.checked = recall("keeping", true) !== false;
    keeping.addEventListener("change", () => remember("keeping", keeping.checked));
    $("forget-all").addEventListener("click", () => this.#forgetAll());
    $("recording-file").addEventListener("change", (event) => this.#read(event.target));
    $("history-search").addEventListener("input", () => this.#filter());
  }

  /** Keep a conversation, if the reader wants that and the browser can. */
  async keep(conversation) {
    if (!$("keeping").checked || conversation.rounds.length === 0) return;
    try {
      await keep(conversation.id, conversation.rounds);
    } catch {
      put($("history-said"), "This browser keeps nothing here, so there is no history.");
    }
  }

  async open() {
    openDialog(this.dialog);
    await this.#list();
  }

  async #list() {
    let all = [];
    try {
      all = await kept();
      put($("history-said"), all.length === 0 ? "Nothing yet. What you ask is kept here, in this browser only." : "");
    } catch {
      put($("history-said"), "This browser keeps nothing here, so there is no history.");
    }
    $("history-list").replaceChildren(...all.map((conversation) => this.#row(conversation)));
    this.#filter();
  }

  #row({ id, at, question, models, rounds }) {
    const further = rounds > 1 ? ` and ${counted(rounds - 1, "further question")}` : "";
    const act = (does) => async () => {
      const conversation = await recalled(id);
      this.dialog.close();
      does(conversation);
    };
    return el("li", {},
      el("p", { class: "history-question" }, question),
      el("p", { class: "history-facts" }, `${new Date(at).toLocaleString()} · ${models.map(shortName).join(", ")}${further}`),
      el("div", { class: "row" },
        el("button", { type: "button", click: act(this.open_) }, "Open"),
        el("button", { type: "button", class: "quiet", click: act((conversation) => this.play(conversation.rounds.at(-1))) }, "Play"),
        el("button", { type: "button", class: "quiet", "aria-label": `Delete: ${question.slice(0, 60)}`, click: () => this.#forget(id) }, "Delete")));
  }

  #filter() {
    const words = $("history-search").value.trim().toLowerCase();
    for (const row of $("history-list").children) row.hidden = !row.textContent.toLowerCase().includes(words);
  }

  async #forget(id) {
    await forget(id);
    await this.#list();
    $("history-search").focus();
  }

  async #forgetAll() {
    const button = $("forget-all");
    // Asked once more in the same place: what is deleted is gone.
    if (button.dataset.sure !== "yes") {
      button.dataset.sure = "yes";
      put(button, "Delete all: sure?");
      setTimeout(() => {
        delete button.dataset.sure;
        put(button, "Delete all");
      }, 4000);
      return;
    }
    await forgetAll();
    await this.#list();
  }

  async #read(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    try {
      const recording = recordingFrom(await file.text());
      this.dialog.close();
      this.play(recording);
    } catch (error) {
      put($("history-said"), error.message);
    }
  }
}
