// Where a time stands on an axis. Pure.

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300];
const ENDS = [2, 3, 4, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 180, 240, 300, 400, 600];

/**
 * The end of an axis, in milliseconds, that has room for `last` milliseconds. It grows in steps, so
 * that bars stand still between them; `over`: nothing moves any more, and the axis fits.
 */
export function axisEnd(last, over) {
  const seconds = last / 1000;
  if (over) return Math.max(500, last * 1.02);
  return 1000 * (ENDS.find((end) => seconds < end * 0.96) ?? Math.ceil(seconds / 300) * 300 + 300);
}

/** The marks of an axis: [{at, words}], as many as `room` allows. */
export function ticks(end, room) {
  const step = 1000 * (STEPS.find((each) => end / (each * 1000) <= room) ?? end / 1000);
  const digits = step < 1000 ? 1 : 0;
  const marks = [];
  for (let at = 0; at <= end; at += step) {
    marks.push({ at, words: `${at === 0 ? 0 : (at / 1000).toFixed(digits)} s` });
  }
  return marks;
}

/** Milliseconds from a slot's beginning to its end, or to `now`; the service's figure if it told one. */
export function lengthOf(slot, now) {
  return slot.facts?.timings?.duration_ms ?? Math.max(0, (slot.endedAt ?? now) - slot.shift);
}

/**
 * What a slot did, as [{kind, from, to}] since it was asked: its phases, the last up to its end or
 * `now`. They touch, and none is negative. Where the service has said when the first token came, that
 * is where writing begins, not when the page heard of it.
 */
export function segments(slot, now) {
  const last = lengthOf(slot, now);
  const first = slot.facts?.timings?.first_token_ms ?? null;
  const begins = slot.phases.map(([kind, at], place) => {
    const isFirst = kind === "writing" && slot.phases.findIndex(([other]) => other === kind) === place;
    return Math.min(isFirst && first !== null ? Math.min(first, at - slot.shift) : at - slot.shift, last);
  });
  return slot.phases.flatMap(([kind], place) => {
    const to = place + 1 < begins.length ? begins[place + 1] : last;
    const from = Math.min(begins[place], to);
    return kind === "queued" ? turned(slot, from, to) : [{ kind, from, to }];
  });
}

/** Nobody says when a model's turn has come; its whole time in line is told at the end. */
function turned(slot, from, to) {
  const turn = Math.max(from, Math.min(to, slot.facts?.timings?.queue_ms ?? to));
  return [{ kind: "queued", from, to: turn }, { kind: "connecting", from: turn, to }];
}
