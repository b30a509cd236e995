// The dialog in which models are chosen.

import { USUAL_MOST, presets, search } from "./catalogue.js";
import { $, el, openDialog, put, show } from "./dom.js";
import { recall } from "./memory.js";
import { counted, dollars, tokens } from "./words.js";

/** Rows at once; who looks for one of more than that has a search. */
const MOST_ROWS = 300;

export class Picker {
  constructor(choice) {
    this.choice = choice;
    this.models = [];
    this.dialog = $("picker");
    for (const id of ["picker-search", "picker-maker", "picker-order"]) $(id).addEventListener("input", () => this.#list());
    $("picker-search").addEventListener("keydown", (event) => this.#onKey(event));
    $("picker-none").addEventListener("click", () => choice.set([]));
    $("picker-typed").addEventListener("click", () => this.#addTyped());
    choice.onChange(() => this.dialog.open && this.#mark());
  }

  /** The list has come, or come anew; `sources` says how whole it is. */
  offer(models, sources) {
    this.models = models;
    const makers = [...new Set(models.map((model) => model.provider))].sort();
    $("picker-maker").replaceChildren(el("option", { value: "" }, "every maker"),
      ...makers.map((maker) => el("option", { value: maker }, maker)));
    const stale = sources.filter((source) => source.error).map((source) => source.provider);
    put($("picker-sources"), stale.length > 0 ? `The list of ${stale.join(", ")} could not be fetched anew; prices may be old.` : "");
    if (this.dialog.open) this.#list();
  }

  open() {
    $("picker-search").value = "";
    this.#presets();
    this.#list();
    openDialog(this.dialog);
    // A phone would put its keyboard over the list.
    if (!matchMedia("(pointer: coarse)").matches) $("picker-search").focus();
  }

  #presets() {
    $("presets").replaceChildren(...presets(this.models, recall("speeds", {})).map((set) =>
      el("button", { type: "button", class: "quiet", title: `${set.ids.join(", ")} (${set.why})`, click: () => this.choice.set(set.ids) }, set.name)));
  }

  #list() {
    const found = search(this.models, $("picker-search").value, $("picker-maker").value, $("picker-order").value);
    const rows = found.slice(0, MOST_ROWS).map((model) => this.#row(model));
    $("picker-list").replaceChildren(...rows);
    const typed = $("picker-search").value.trim();
    const known = this.models.some((model) => model.id === typed);
    show($("picker-typed"), typed !== "" && !known && !typed.includes(" ") && found.length < 20);
    put($("picker-typed"), `Add “${typed}” as it is typed`);
    put($("picker-found"), found.length > MOST_ROWS ? `${found.length} models, the first ${MOST_ROWS} shown` : counted(found.length, "model"));
    this.#mark();
  }

  #row(model) {
    const box = el("input", { type: "checkbox", value: model.id, change: () => this.choice.toggle(model.id) });
    const facts = [
      model.context_length ? `${tokens(model.context_length)} context` : null,
      model.price ? priceOf(model.price) : "price not known",
      model.input_modalities?.includes("image") ? "sees pictures" : null,
    ];
    return el("li", {}, el("label", { class: "model" }, box,
      el("span", { class: "model-name" }, model.name, " ", el("code", {}, model.id)),
      el("span", { class: "model-facts" }, facts.filter(Boolean).join(" · ")),
      el("span", { class: "model-about" }, aboutIt(model))));
  }

  #mark() {
    for (const box of $("picker-list").querySelectorAll("input")) box.checked = this.choice.ids.includes(box.value);
    const count = this.choice.ids.length;
    put($("picker-count"), count > USUAL_MOST
      ? `${count} chosen; most services take ${USUAL_MOST} at once`
      : `${count} chosen`);
  }

  /** Enter takes the first that was found, so that a name and Enter are enough. */
  #onKey(event) {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const first = $("picker-list").querySelector("input");
    if (first) this.choice.toggle(first.value);
    else this.#addTyped();
  }

  #addTyped() {
    const typed = $("picker-search").value.trim();
    if (typed === "" || typed.includes(" ")) return;
    if (!this.choice.ids.includes(typed)) this.choice.set([...this.choice.ids, typed]);
    $("picker-search").value = "";
    this.#list();
    $("picker-search").focus();
  }
}

const aboutIt = ({ provider, description }) =>
  description.startsWith(provider) ? description : `${provider}: ${description}`;

function priceOf({ input, output, request }) {
  if (input === 0 && output === 0 && !request) return "free";
  const each = request ? ` + ${dollars(request)} a request` : "";
  return `${dollars(input)} in, ${dollars(output)} out / M tokens${each}`;
}
