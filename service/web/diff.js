// What two texts share, word by word. Pure.

/** Cells of the table that are filled at most, two bytes each; longer texts are compared by sentences. */
const MOST_CELLS = 16_000_000;

/**
 * [{kind, text}] in order: "same", "left" (only in the first) or "right" (only in the second). All
 * that is not "right", joined, is `left`; all that is not "left" is `right`.
 */
export function difference(left, right) {
  const words = [wordsOf(left), wordsOf(right)];
  const pieces = words[0].length * words[1].length <= MOST_CELLS ? words : [sentencesOf(left), sentencesOf(right)];
  return joined(aligned(...pieces));
}

/** The part of the words that the texts share, 0 to 1. */
export function likeness(parts) {
  const sizes = { same: 0, left: 0, right: 0 };
  for (const { kind, text } of parts) sizes[kind] += text.match(/\S+/g)?.length ?? 0;
  const all = 2 * sizes.same + sizes.left + sizes.right;
  return all === 0 ? 1 : (2 * sizes.same) / all;
}

const wordsOf = (text) => text.match(/[\p{L}\p{N}_]+|\s+|[^\p{L}\p{N}_\s]/gu) ?? [];
const sentencesOf = (text) => text.match(/[^\n.!?。]+[\n.!?。]*|[\n.!?。]+/g) ?? [];

/** The longest common subsequence, once what is the same at both ends has been put aside. */
function aligned(left, right) {
  let head = 0;
  while (head < left.length && head < right.length && left[head] === right[head]) head += 1;
  let tail = 0;
  while (tail < Math.min(left.length, right.length) - head && left.at(-1 - tail) === right.at(-1 - tail)) tail += 1;
  const a = left.slice(head, left.length - tail);
  const b = right.slice(head, right.length - tail);
  const same = (texts) => texts.map((text) => ({ kind: "same", text }));
  return [...same(left.slice(0, head)), ...middle(a, b), ...same(left.slice(left.length - tail))];
}

function middle(a, b) {
  const only = (kind, texts) => texts.map((text) => ({ kind, text }));
  if (a.length === 0 || b.length === 0 || a.length * b.length > MOST_CELLS) {
    return [...only("left", a), ...only("right", b)];
  }
  const wide = b.length + 1;
  const length = new Uint16Array((a.length + 1) * wide);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      length[i * wide + j] = a[i] === b[j]
        ? length[(i + 1) * wide + j + 1] + 1
        : Math.max(length[(i + 1) * wide + j], length[i * wide + j + 1]);
    }
  }
  const parts = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      parts.push({ kind: "same", text: a[i] });
      i += 1;
      j += 1;
    } else if (length[(i + 1) * wide + j] >= length[i * wide + j + 1]) parts.push({ kind: "left", text: a[i++] });
    else parts.push({ kind: "right", text: b[j++] });
  }
  return [...parts, ...only("left", a.slice(i)), ...only("right", b.slice(j))];
}

/** Neighbours of one kind as one part. */
function joined(parts) {
  const found = [];
  for (const part of parts) {
    if (found.at(-1)?.kind === part.kind) found.at(-1).text += part.text;
    else found.push({ ...part });
  }
  return found;
}
