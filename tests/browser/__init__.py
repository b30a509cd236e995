"""The page in a real browser.

Playwright's synchronous interface, so these are no Trio tests: the service runs in a process of its
own, and one browser serves all tests of a module.
"""
