"""One prompt to many language models, one stream of events back.

The path of a request, in the order in which a reader may follow it: `application` and `routes` take
it, `question` parses or refuses it, `comparison` opens a nursery with one child per model, each
child asks a provider (`providers`, through `upstream`) under its clocks (`patience`), says what it
hears as `events` into one bounded channel, and `answer` writes them as an `eventstream`. `edge`
runs the server, `simulator` is a provider of our own, `cli` is the command.

Imports point one way, from `cli` and `application` down to the values; nothing imports back.
"""

__version__ = "0.1.0"
