// The picture: a bar for each model over one axis of time, and below it the same answers one after
// another. Drawn in pixels, so that its letters have the same size on every screen.

import { $, el, mark, put, show, svg } from "./dom.js";
import { axisEnd, lengthOf, segments, ticks } from "./scale.js";
import { figures, firstTokenAfter, inLine, isOpen, isOver, lasted } from "./state.js";
import { counted, dollars, seconds, shortName, STATES } from "./words.js";

/** Pixels: a row and the bar in it, for a few models and for many. */
const WIDE = { row: 24, bar: 14 };
const TIGHT = { row: 19, bar: 12 };
const MANY = 5;
/** Milliseconds in line from which a figure shows that they are not in it. */
const NOTABLE = 50;
const AXIS = 20;
const END = { done: "✓", failed: "✕", stopped: "■", lost: "⚡" };

export class Timeline {
  #width = 0;
  #rows = [];
  #axis = "";
  #spoken = "";

  /** `pick(index)` is told which row was pressed: the way to its card, for who has a pointer. */
  constructor(onResize, pick) {
    this.svg = $("timeline");
    this.grid = this.svg.querySelector(".grid");
    this.bars = this.svg.querySelector(".bars");
    this.now = this.svg.querySelector(".now");
    this.bars.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) pick([...this.bars.children].indexOf(row));
    });
    new ResizeObserver(([entry]) => {
      this.#width = Math.floor(entry.contentRect.width);
      onResize();
    }).observe(this.svg.parentElement);
  }

  /** Make the rows of `round`. */
  show(round) {
    this.round = round;
    this.#axis = "";
    this.#spoken = "";
    this.#rows = round.slots.map((slot) => makeRow(slot));
    this.bars.replaceChildren(...this.#rows.map((row) => row.group));
    $("apart").replaceChildren(...round.slots.map((slot) => el("span", { title: slot.name })));
  }

  draw(now) {
    if (!this.round || this.#width === 0) return;
    const { slots } = this.round;
    const narrow = this.#width < 560;
    const gutter = narrow ? 78 : 132;
    const over = isOver(this.round);
    const size = slots.length > MANY ? TIGHT : WIDE;
    const last = Math.max(...slots.map((slot) => lengthOf(slot, now)));
    // Behind a bar stands how it ended.
    const room = this.#width - gutter - (narrow ? 56 : 104);
    const end = axisEnd(last, over);
    const x = (at) => gutter + (at / end) * room;
    this.#drawAxis(end, x, room / (narrow ? 48 : 90), slots.length * size.row);
    slots.forEach((slot, place) => drawRow(this.#rows[place], slot, { now, x, gutter, size, y: AXIS + place * size.row }));
    this.#drawNow(over ? null : x(last), slots.length * size.row);
    this.#drawFigures(now, over);
  }

  #drawAxis(end, x, room, height) {
    const key = `${end} ${this.#width} ${height}`;
    if (key === this.#axis) return;
    this.#axis = key;
    mark(this.svg, "width", this.#width);
    mark(this.svg, "height", AXIS + height + 2);
    this.grid.replaceChildren(...ticks(end, Math.max(2, room)).flatMap(({ at, words }) => [
      svg("line", { x1: x(at), x2: x(at), y1: AXIS - 4, y2: AXIS + height }),
      svg("text", { x: x(at) + (at === 0 ? 0 : -2), y: 12, "text-anchor": at === 0 ? "start" : "middle" }, words),
    ]));
  }

  #drawNow(at, height) {
    mark(this.now, "visibility", at === null ? "hidden" : "visible");
    if (at === null) return;
    mark(this.now, "transform", `translate(${at.toFixed(1)} 0)`);
    mark(this.now, "y1", AXIS - 4);
    mark(this.now, "y2", AXIS + height);
  }

  #drawFigures(now, over) {
    const told = figures(this.round, now);
    const several = this.round.slots.length > 1;
    put($("wall"), seconds(told.wall));
    put($("slowest"), seconds(told.slowest));
    put($("sum"), seconds(told.sum));
    put($("speedup"), `${told.speedup.toFixed(1)} ×`);
    put($("cost"), told.cost === null ? "not known" : dollars(told.cost));
    const notes = [over ? null : "so far", over && told.measured ? "by this page's clock" : null, told.line > NOTABLE ? "time in line left out" : null];
    put($("measured"), notes.filter(Boolean).join(", "));
    show($("apart-rows"), several);
    this.#drawApart(told, now);
    this.#speak(told, over);
  }

  /** Two bars over one scale: all at once, and each answer's time laid behind the one before. */
  #drawApart(told, now) {
    const whole = Math.max(told.sum, told.wall, 1);
    $("together").style.width = `${((100 * told.wall) / whole).toFixed(1)}%`;
    put($("together-time"), seconds(told.wall));
    put($("apart-time"), seconds(told.sum));
    [...$("apart").children].forEach((part, place) => {
      part.style.width = `${((100 * alone(this.round.slots[place], now)) / whole).toFixed(1)}%`;
    });
  }

  /** For a screen reader: what the picture shows, told anew when a model's state is another. */
  #speak(told, over) {
    const { slots } = this.round;
    const key = slots.map((slot) => slot.state + slot.asks).join() + over;
    if (key === this.#spoken) return;
    this.#spoken = key;
    const each = slots.map((slot) =>
      isOpen(slot) ? `${slot.name} ${STATES[slot.state]}` : `${slot.name} ${STATES[slot.state]} after ${seconds(lasted(slot, 0))}`);
    const whole = over ? ` Together ${seconds(told.wall)}; one after another ${seconds(told.sum)}, ${told.speedup.toFixed(1)} times as long.` : "";
    mark(this.svg, "aria-label", `Timeline of ${counted(slots.length, "model")}: ${each.join("; ")}.${whole}`);
  }
}

function makeRow(slot) {
  const name = svg("text", { class: "row-name" });
  const title = svg("title", {}, slot.name);
  const first = svg("path", { class: "first", d: "M0 -2 V16 M-3 -2 H3" });
  const ended = svg("text", { class: "row-end" });
  const bars = svg("g");
  return { group: svg("g", { class: "row" }, title, bars, first, name, ended), bars, first, name, ended, rects: [], sight: "" };
}

function drawRow(row, slot, { now, x, gutter, size, y }) {
  const parts = segments(slot, now);
  const last = parts.at(-1)?.to ?? 0;
  const top = y + (size.row - size.bar) / 2;
  const sight = `${slot.asks} ${slot.state} ${x(last).toFixed(1)} ${y} ${gutter} ${x(0)} ${x(1000)}`;
  if (sight === row.sight) return;
  row.sight = sight;
  mark(row.group, "data-state", slot.state);
  while (row.rects.length > parts.length) row.rects.pop().remove();
  parts.forEach(({ kind, from, to }, place) => {
    row.rects[place] ??= row.bars.appendChild(svg("rect", { rx: 1.5 }));
    const rect = row.rects[place];
    mark(rect, "class", `phase ${kind}`);
    mark(rect, "fill", kind === "writing" ? null : `url(#hatch-${kind})`);
    mark(rect, "x", x(from).toFixed(1));
    mark(rect, "y", top);
    mark(rect, "height", size.bar);
    mark(rect, "width", Math.max(0.5, x(to) - x(from)).toFixed(1));
  });
  const first = firstTokenAfter(slot);
  mark(row.first, "visibility", first === null ? "hidden" : "visible");
  if (first !== null) mark(row.first, "transform", `translate(${x(Math.min(first, last)).toFixed(1)} ${top})`);
  put(row.name, clipped(shortName(slot.name), Math.floor(gutter / 7)));
  mark(row.name, "y", top + size.bar - 2);
  mark(row.ended, "x", (x(last) + 5).toFixed(1));
  mark(row.ended, "y", top + size.bar - 2);
  put(row.ended, isOpen(slot) ? seconds(last) : `${END[slot.state]} ${seconds(lasted(slot, now))}`);
}

/** What the slot would have taken with nobody before it. */
const alone = (slot, now) => Math.max(0, lasted(slot, now) - inLine(slot, now));

const clipped = (name, most) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);
