"""Markdown as HTML: what it becomes, and that nothing in it can run, load, or take for ever."""

from __future__ import annotations

import re
import time
from html import escape
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from pygments.lexers import get_lexer_by_name

from service.markup import SCHEMES, colours, reading, to_html
from service.markup.colours import CLASSES, LANGUAGES, LONGEST_CODE
from tests.attacks import ATTACKS, SLOW

REL = "noopener noreferrer nofollow"


class Page(HTMLParser):
    """What a reader of HTML finds in it, and what it must not find."""

    ELEMENTS = frozenset(
        (
            *("p", "br", "hr", "em", "strong", "s", "a", "span", "code", "pre", "blockquote"),
            *("ul", "ol", "li", "h4", "h5", "h6"),
            *("table", "thead", "tbody", "tr", "th", "td"),
        )
    )
    ALWAYS = frozenset((("a", "target", "_blank"), ("a", "rel", REL)))

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.ELEMENTS:
            self.wrong.append(f"<{tag}>")
        for name, value in attrs:
            if (tag, name) == ("a", "href"):
                self._link(str(value))
            elif name == "class":
                self._classes(tag, str(value))
            elif (tag, name) == ("ol", "start") and re.fullmatch(r"\d{1,9}", str(value)):
                pass
            elif (tag, name, value) not in self.ALWAYS:
                self.wrong.append(f"<{tag} {name}={value!r}>")
        if tag == "a" and not {("target", "_blank"), ("rel", REL)} <= set(attrs):
            self.wrong.append("a link that is told who sent it")

    def handle_decl(self, decl: str) -> None:
        self.wrong.append(decl)

    def handle_comment(self, data: str) -> None:
        self.wrong.append(data)

    def handle_pi(self, data: str) -> None:
        self.wrong.append(data)

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def _link(self, url: str) -> None:
        self.links.append(url)
        if urlsplit(url).scheme not in SCHEMES:
            self.wrong.append(url)

    def _classes(self, tag: str, value: str) -> None:
        known = {
            "a": {"image"},
            "code": {f"language-{name}" for name in LANGUAGES},
            "pre": {"highlight", "plain"},
            "span": CLASSES,
            "td": {"align-left", "align-center", "align-right"},
            "th": {"align-left", "align-center", "align-right"},
        }
        if not set(value.split()) <= set(known.get(tag, ())):
            self.wrong.append(f"<{tag} class={value!r}>")


# --- nothing runs, nothing loads ----------------------------------------------------------------


def test_there_are_attacks_of_every_kind() -> None:
    assert len(ATTACKS) > 200
    assert len(set(ATTACKS.values())) == len(ATTACKS)


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_becomes_nothing_that_is_not_on_the_list(text: str) -> None:
    assert Page(to_html(text)).wrong == []


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_inside_other_markup_is_no_better(text: str) -> None:
    for around in ("> {}", "- {}", "**{}**", "|a|\n|-|\n|{}|", "# {}", "[{}](https://x)", "x\n{}"):
        assert Page(to_html(around.format(text))).wrong == []


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_each_of_the_two_locks_holds_without_the_other(text: str) -> None:
    """What the Markdown reader writes has no HTML of the text's; what the list leaves is on it."""
    assert Page(reading._CLEANER.clean(text)).wrong == []
    unlisted = Page(reading._MARKDOWN.render(text, reading.fresh_environment())).wrong
    the_lists_own_work = ("a link that is told", "<a title=")
    assert [wrong for wrong in unlisted if not wrong.startswith(the_lists_own_work)] == []


def test_no_two_attacks_together_are_more_than_each() -> None:
    assert Page(to_html("\n".join(ATTACKS.values()))).wrong == []
    assert Page(to_html("".join(ATTACKS.values()))).wrong == []


@pytest.mark.parametrize("language", sorted(set(LANGUAGES.values())))
def test_an_attack_in_code_is_code(language: str) -> None:
    texts = list(ATTACKS.values())
    for n in range(10):
        text = "\n".join(texts[n::10])
        code = text.replace("```", "").replace("\0", "\ufffd").replace("\r", "\n").strip("\n")
        html = to_html(f"~~~~ {language}\n{code}\n~~~~")
        page = Page(html)
        assert page.wrong == page.links == []
        assert "".join(page.text).strip("\n") == code


@pytest.mark.parametrize("text", ["<b>x</b>", "a<script>b</script>", "<!-- x -->", "a &lt; <p"])
def test_html_in_a_text_is_text(text: str) -> None:
    assert "".join(Page(to_html(text)).text).strip() == text.replace("&lt;", "<")


@pytest.mark.parametrize(
    "url",
    [
        *("javascript:x", "data:text/html,x", "/models", "//x", "x:y"),
        *("http:/docs", "HTTPS:docs", "http:///docs", "http:?x", "http://:80/docs", "https:"),
    ],
)
def test_a_link_to_elsewhere_stays_what_was_written(url: str) -> None:
    for text in (f"[x]({url})", f"![x]({url})"):
        assert to_html(text) == f"<p>{text}</p>\n"


@pytest.mark.parametrize("url", ["http://x/", "https://x/?a=1#b", "HTTPS://x/", "mailto:a@b.c"])
def test_a_link_to_where_one_may_go_is_one(url: str) -> None:
    [link] = Page(to_html(f"[x]({url})")).links
    assert link.lower() == url.lower()


def test_an_image_is_a_link_to_it() -> None:
    href = '<a class="image" href="https://x/i.png" target="_blank" rel="' + REL + '">'
    assert to_html("![a *b*](https://x/i.png 'c')") == f"<p>{href}a b</a></p>\n"
    assert to_html("![](https://x/i.png)") == f"<p>{href}https://x/i.png</a></p>\n"


# --- what it becomes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("*b* **c** ~~d~~", "<p><em>b</em> <strong>c</strong> <s>d</s></p>\n"),
        ("a `b`", "<p>a <code>b</code></p>\n"),
        ("# a\n\n###### b", "<h4>a</h4>\n<h6>b</h6>\n"),
        ("3. a\n4. b", '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>\n'),
        ("> a  \n> b", "<blockquote>\n<p>a<br>\nb</p>\n</blockquote>\n"),
        ("```\na <b\n```", '<pre class="highlight"><code>a &lt;b\n</code></pre>\n'),
        ("    a <b", '<pre class="highlight"><code>a &lt;b\n</code></pre>\n'),
        ("```nobody's\nx\n```", '<pre class="highlight"><code>x\n</code></pre>\n'),
        ("- a\n  - b", "<ul>\n<li>a\n<ul>\n<li>b</li>\n</ul>\n</li>\n</ul>\n"),
        ("---", "<hr>\n"),
        ("", ""),
    ],
)
def test_what_is_usual_in_an_answer(text: str, html: str) -> None:
    assert to_html(text) == html


def test_a_table_is_aligned_by_classes() -> None:
    html = to_html("|a|b|c|d|\n|:-|:-:|-:|-|\n|1|2|3|4|")
    assert '<td class="align-left">1</td>\n<td class="align-center">2</td>' in html
    assert '<td class="align-right">3</td>\n<td>4</td>' in html
    assert "style" not in html


def test_code_has_the_classes_of_its_words_and_no_style() -> None:
    html = to_html("```python title=x\nreturn 'a<b'\n```")
    assert '<code class="language-python"><span class="k">return</span>' in html
    assert "a&lt;b" in html
    assert "style" not in html


@pytest.mark.parametrize("code", ["\ufeffx = 1\n", "\n\n  x\t=\t1  \n\n", "é \U0001f600 \u202e\n"])
@pytest.mark.parametrize("language", sorted(set(LANGUAGES.values())))
def test_coloured_code_is_the_code_that_was_written(language: str, code: str) -> None:
    page = Page(to_html(f"```{language}\n{code}```"))
    assert "".join(page.text).removesuffix("\n") == code


def test_each_language_is_one_that_pygments_has() -> None:
    for name in set(LANGUAGES.values()):
        assert get_lexer_by_name(name)


# --- and in time --------------------------------------------------------------------------------

UNSEEN_SECONDS = 4
"""Of the thread's own, on a machine that is busy: what comes between two looks at the clock, and
what is linear after them. Without the clocks most of these take minutes."""


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clocks as they are, but soon over: what they don't see takes as long as ever."""
    monkeypatch.setattr(reading, "READING_SECONDS", 0.05)
    monkeypatch.setattr(colours, "COLOURING_SECONDS", 0.05)


@pytest.mark.usefixtures("in_a_hurry")
@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW.keys())
def test_a_text_that_is_made_to_take_long_does_not(text: str) -> None:
    began = time.thread_time()
    page = Page(to_html(text))
    assert time.thread_time() - began < UNSEEN_SECONDS
    assert page.wrong == []


@pytest.mark.usefixtures("in_a_hurry")
@pytest.mark.parametrize("piece", ["[", "![", "a_*"])
def test_what_takes_too_long_is_shown_as_it_is(piece: str) -> None:
    text = f"<b>{piece * 80_000}"
    assert to_html(text) == f'<pre class="plain">{escape(text, quote=False)}</pre>'


def test_the_time_that_a_text_may_take_is_known() -> None:
    """A thread can't be cancelled: whoever leaves, or stops the service, waits for so long."""
    assert reading.READING_SECONDS + colours.COLOURING_SECONDS <= 1.5


def test_a_long_answer_of_the_usual_kind_is_formatted_whole() -> None:
    part = "Some *words* of `prose`, [a link](https://x) and\n\n- a list\n- of two\n\n"
    html = to_html(part * 1500)
    assert html.count("<ul>") == html.count("<em>") == 1500


@pytest.mark.parametrize("code", ["x = 1\n" * (LONGEST_CODE // 6 + 1), f"x ={' ' * 101}1\n"])
def test_code_of_an_unusual_shape_is_whole_and_without_colours(code: str) -> None:
    html = to_html(f"```c\n{code}```")
    assert html == f'<pre class="highlight"><code class="language-c">{code}</code></pre>\n'


@pytest.mark.parametrize("blocks", [1, 12])
def test_when_the_time_for_colours_is_over_the_rest_is_whole_without(
    blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colours, "COLOURING_SECONDS", 0.002)
    to_html("```python\nx\n```")  # Pygments reads the language's rules once
    lines = 900
    block = "```python\n" + "def f(x): return 'y'\n" * lines + "```\n"
    html = to_html(block * blocks)
    assert "".join(Page(html).text).count("def f(x): return 'y'\n") == lines * blocks
    assert 0 < html.count('<span class="k">def</span>') < lines
