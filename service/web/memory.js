// Small things that this browser remembers: the models, the parameters, the theme. A browser that
// keeps nothing (a private window, a full disk) forgets them, and that is all.

const PREFIX = "compare-stream.";

export function recall(name, otherwise) {
  try {
    const kept = localStorage.getItem(PREFIX + name);
    return kept === null ? otherwise : JSON.parse(kept);
  } catch {
    return otherwise;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // It will be asked for again.
  }
}

/** How long a model's answers took here: the newest counts most. For the preset of fast ones. */
export function rememberSpeed(id, milliseconds) {
  const speeds = recall("speeds", {});
  const before = Object.hasOwn(speeds, id) ? speeds[id] : undefined;
  speeds[id] = Math.round(before === undefined ? milliseconds : before * 0.6 + milliseconds * 0.4);
  remember("speeds", speeds);
}
