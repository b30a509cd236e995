"""Markdown to HTML that is safe to put into a page; the only package that knows how."""

from service.markup.reading import SCHEMES, to_html

__all__ = ["SCHEMES", "to_html"]
