"""Markdown to HTML that is safe to put into a page.

Three libraries, each for what it is kept for: markdown-it-py reads the Markdown and writes what it
means (html off: a tag in the text is text), Pygments colours code (`colours`), and nh3 keeps of the
result only what is on a list, whatever the other two may have overlooked. The list has no element
and no attribute by which a page loads, runs or styles anything: a model's image is a link, so that
an answer that is merely looked at tells nobody so.

Markdown can be written so that reading it takes a time that grows with the square of its length:
16 KiB of `[` are three seconds. The rules of the parser look at the clock at every step, and a text
that takes too long is shown as it is. What can't be interrupted is linear, or bounded by the
parser (nesting, the cells that are added to a table).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from service.markup.colours import CLASSES, LANGUAGES, Palette

__all__ = ["READING_SECONDS", "SCHEMES", "to_html"]

READING_SECONDS = 1.0
"""Of the thread's own time, for a text to be read. A plain one of 256 KiB takes half of it; a
stream beside it waits for the interpreter, some milliseconds at a time, for as long."""

SCHEMES = frozenset({"http", "https", "mailto"})
"""Where a link may lead. One to anywhere else stays what was written, as does one without a scheme
or, for the web, without a host (`http:/docs`): it would lead into this service."""

MOST_NESTED = 50
"""Blocks and spans inside each other; by recursion, so it must stay far below Python's limit."""

LEVELS_DOWN = 3
"""A model's headings stand below the page's own: its name, the question, and the card's."""

_SIDES = {f"text-align:{side}": f"align-{side}" for side in ("left", "center", "right")}


class _TooSlow(Exception):
    """The text takes longer to read than it may."""


def to_html(text: str) -> str:
    """`text`, which is Markdown, as HTML; one that takes too long to read as it is."""
    try:
        html = _MARKDOWN.render(text, fresh_environment())
    except _TooSlow:
        html = f'<pre class="plain">{escape(text)}</pre>'
    return _CLEANER.clean(html)


def fresh_environment() -> dict[str, Any]:
    """What the rules share for one text: until when it may be read, and the colours of its code."""
    return {_UNTIL: time.thread_time() + READING_SECONDS, _PALETTE: Palette()}


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802, the library's name
        try:
            parts = urlsplit(url)
            return parts.scheme in SCHEMES and (parts.scheme == "mailto" or bool(parts.hostname))
        except ValueError:
            return False


class _Renderer(RendererHTML):
    """Writes what a page is to have of an image and of code."""

    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        source = str(tokens[idx].attrGet("src") or "")
        words = self.renderInlineAsText(tokens[idx].children, options, env) or source
        return f'<a class="image" href="{escape(source)}">{escape(words)}</a>'

    def fence(self, tokens: Sequence[Token], idx: int, _options: Any, env: Any) -> str:
        language, *_ = (*tokens[idx].info.lower().split(), "")
        return self._code(tokens[idx].content, language, env)

    def code_block(self, tokens: Sequence[Token], idx: int, _options: Any, env: Any) -> str:
        return self._code(tokens[idx].content, "", env)

    def _code(self, code: str, language: str, env: Any) -> str:
        palette: Palette = env[_PALETTE]
        known = f' class="language-{language}"' if language in LANGUAGES else ""
        html = palette.html_of(code, language)
        return f'<pre class="highlight"><code{known}>{html}</code></pre>\n'


_UNTIL = "until"
_PALETTE = "palette"


def _clock(state: StateBlock | StateInline, *_: Any) -> bool:
    if time.thread_time() > state.env[_UNTIL]:
        raise _TooSlow
    return False  # nothing of this rule's here: the others have their turn


def _fit_in(state: StateCore) -> None:
    """What has no place in the page, in the form that it has there."""
    for token in state.tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(6, int(token.tag[1:]) + LEVELS_DOWN)}"
        elif token.type in {"th_open", "td_open"} and "style" in token.attrs:
            token.attrs = {"class": _SIDES.get(str(token.attrs["style"]), "")}


def _markdown() -> MarkdownIt:
    options = {"html": False, "linkify": False, "maxNesting": MOST_NESTED}
    markdown = _Markdown("js-default", options, renderer_cls=_Renderer)
    markdown.block.ruler.before("table", "clock", _clock, {"alt": ["paragraph", "reference"]})
    markdown.inline.ruler.before("text", "clock", _clock)
    markdown.core.ruler.push("fit_in", _fit_in)
    return markdown


_MARKDOWN = _markdown()
_CLEANER = nh3.Cleaner(
    tags={
        *("p", "br", "hr", "em", "strong", "s", "a", "span", "code", "pre", "blockquote"),
        *("ul", "ol", "li", "h4", "h5", "h6"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    },
    attributes={"*": set(), "a": {"href"}, "ol": {"start"}},
    allowed_classes={
        "a": {"image"},
        "code": {f"language-{name}" for name in LANGUAGES},
        "pre": {"highlight", "plain"},
        "span": set(CLASSES),
        "td": set(_SIDES.values()),
        "th": set(_SIDES.values()),
    },
    url_schemes=set(SCHEMES),
    url_relative="deny",
    link_rel="noopener noreferrer nofollow",
    set_tag_attribute_values={"a": {"target": "_blank"}},
)
