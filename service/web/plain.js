// Text that grows, cheaply: each block has one text node, so that a browser lays out the last of them
// anew and not the whole answer. All of them together are the text, byte for byte.

/** Characters after which a block ends at the next line's end. */
const BLOCK = 400;
/** Characters after which it ends at the next space, where no line ends. */
const LONG_BLOCK = 4000;

export class PlainText {
  #element;
  #written = 0;
  #block = null;
  #size = 0;

  constructor(element) {
    this.#element = element;
  }

  /** Begin anew. */
  clear() {
    this.#element.replaceChildren();
    this.#written = 0;
    this.#block = null;
  }

  /** Show `text`, which begins with what is shown; true when something was added. */
  grow(text) {
    if (text.length === this.#written) return false;
    let rest = text.slice(this.#written);
    this.#written = text.length;
    while (rest !== "") {
      if (this.#block === null) {
        this.#block = document.createTextNode("");
        this.#size = 0;
        const element = document.createElement("div");
        element.append(this.#block);
        this.#element.append(element);
      }
      const end = cut(rest, this.#size);
      const piece = end < 0 ? rest : rest.slice(0, end);
      this.#block.appendData(piece);
      this.#size += piece.length;
      rest = rest.slice(piece.length);
      if (end >= 0) this.#block = null;
    }
    return true;
  }
}

/** Where the block that has `size` characters ends in `rest`; -1: not in it. */
function cut(rest, size) {
  const line = rest.indexOf("\n", Math.max(0, BLOCK - size));
  if (line >= 0) return line + 1;
  const space = rest.indexOf(" ", Math.max(0, LONG_BLOCK - size));
  return space < 0 ? -1 : space + 1;
}
