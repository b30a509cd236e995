"""The tables of the settings file, each setting with its default, its unit and the reason for it.

The tables of docs/settings.md and `compare-stream settings` are made from here: a setting without
`About` has a place in neither, and a test says so.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from service.patience import Patience
from service.persistence import Persistence
from service.settings.about import About, NotNegative, PositiveInt, Seconds

__all__ = ["CatalogueSettings", "Deadlines", "Limits", "Retries", "Server", "Stream"]


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """How much is taken on."""

    max_models: Annotated[
        PositiveInt,
        About(
            "models in one comparison",
            "as many as one screen shows side by side; each is a request that somebody pays for",
        ),
    ] = 9
    max_comparisons: Annotated[
        PositiveInt,
        About(
            "comparisons running at once",
            "one more is answered with 503 at once; nobody waits in a queue that can't be "
            "seen. With nine models each they are 2304 connections to providers: mind the "
            "[limit of open files](deploying.md#the-process)",
        ),
    ] = 256
    max_body_bytes: Annotated[
        PositiveInt,
        About(
            "bytes of a request's body",
            "the longest question has 15 000 characters, the rest is history; a longer body is "
            "answered with 413",
        ),
    ] = 1024 * 1024
    daily_model_responses: Annotated[
        int,
        Meta(ge=0),
        About(
            "answers a day (UTC), for one address and for one fingerprint",
            "0: no limit. Counted in memory: a restart begins anew. Behind a proxy name it in "
            "`trusted_proxies`: [whose address it is](deploying.md#whose-address-it-is)",
        ),
    ] = 0


class Deadlines(Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds that a model may take; see `service.patience.Patience`."""

    connect: Annotated[
        Seconds,
        About(
            "seconds",
            "name, connection and TLS take well under one second; the rest is room for lost "
            "packets, which are sent again after 1 s and 3 s",
        ),
    ] = 5
    first_token: Annotated[
        Seconds,
        About(
            "seconds from the connection to the first text",
            "a provider that queues says so in comments, and these do not count. A model that "
            "thinks in silence, or a local server that loads it first, needs more",
        ),
    ] = 30
    idle: Annotated[
        Seconds,
        About(
            "seconds between two signs of life after that",
            "stands still while the client does not read: a slow reader is not the model's fault",
        ),
    ] = 60
    total: Annotated[
        Seconds,
        About(
            "seconds for the whole answer",
            "8192 tokens at 30 a second are 273 s. It never stands still, and so frees the "
            "provider when a client stalls for ever",
        ),
    ] = 300

    def patience(self) -> Patience:
        """The same as the value that the comparison takes."""
        return Patience(
            connect=self.connect, first_token=self.first_token, idle=self.idle, total=self.total
        )


class Retries(Struct, frozen=True, forbid_unknown_fields=True):
    """When a provider is asked again; see `service.persistence.Persistence`."""

    attempts: Annotated[
        PositiveInt,
        About(
            "requests to one model, the first included",
            "a moment's trouble is over by then, and longer trouble is not ended by a fourth. "
            "1: none is made again",
        ),
    ] = 3
    backoff: Annotated[
        Seconds,
        About(
            "seconds, the bound of the first wait, which is drawn by lot",
            "about what a provider takes to get rid of a burst; it doubles with each",
        ),
    ] = 0.5
    most_backoff: Annotated[
        Seconds, About("seconds at which the bound stops doubling", "a reader is waiting")
    ] = 8
    longest_wait: Annotated[
        NotNegative,
        About(
            "seconds; a provider that asks for more is not asked again",
            "two thirds of `first_token`: who waits longer for nothing wants to know why",
        ),
    ] = 20

    def persistence(self) -> Persistence:
        """The same as the value that the comparison takes."""
        return Persistence(
            attempts=self.attempts,
            backoff=self.backoff,
            most_backoff=self.most_backoff,
            longest_wait=self.longest_wait,
        )


class Stream(Struct, frozen=True, forbid_unknown_fields=True):
    """How events reach the client."""

    heartbeat: Annotated[
        float,
        Meta(ge=0.01),
        About(
            "seconds without output, after which a comment is sent",
            "far below the shortest limit of the [proxies in "
            "between](operations/proxies.md#time-limits-on-the-way)",
        ),
    ] = 10
    write_timeout: Annotated[
        Seconds,
        About(
            "seconds a client may take to drain what is pending",
            "long enough for a network that changes, short enough that a reader who stalls "
            "keeps neither memory nor paid models. Whoever takes longer is "
            "[cut](contract.md#leave)",
        ),
    ] = 10
    flush_ms: Annotated[
        NotNegative,
        About(
            "milliseconds that a chunk may wait under load",
            "many chunks in one read and one write cost little more than one; front ends "
            "redraw every 50 ms at most. [What load is](performance.md#the-pulse). 0: nothing "
            "ever waits",
        ),
    ] = 50


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is let in, and how the process ends."""

    drain: Annotated[
        Seconds,
        About(
            "seconds that running comparisons may go on once the process is told to end",
            "most answers are whole by then, and supervisors wait that long; what still runs "
            "is [ended](deploying.md#stop)",
        ),
    ] = 30
    connections_per_address: Annotated[
        int,
        Meta(ge=0),
        About(
            "connections open at once from one address",
            "one more is closed at once. Behind a proxy all of them are the proxy's, so it "
            "must be no fewer than its clients; 0: no limit",
        ),
    ] = 1024
    resets_per_connection: Annotated[
        PositiveInt,
        About(
            "HTTP/2 requests that a connection may take back at once",
            "ten more with each second. A request and its cancellation cost the client nothing "
            "and the service some work; a page that is left takes back a few",
        ),
    ] = 100
    api_keys: Annotated[
        dict[str, str],
        About(
            'a key\'s name and `"sha256:<64 hexadecimal digits>"`',
            "`compare-stream key NAME` makes the line. None: whoever reaches the port may ask",
        ),
    ] = {}
    cors_origins: Annotated[
        tuple[str, ...],
        About(
            'origins such as `"https://app.example.org"`, or `"*"`',
            "pages of other origins that may read the answers",
        ),
    ] = ()
    hosts: Annotated[
        tuple[str, ...],
        About(
            'names without a port; `"*.example.org"` is every name below it',
            "none: any name will do",
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        About('addresses, networks, `"unix"`', "peers whose `X-Forwarded-For` is believed"),
    ] = ()


class CatalogueSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the list of models is kept."""

    refresh: Annotated[
        NotNegative,
        About(
            "seconds between two fetches from each provider",
            "lists change a few times a week, and are up to a megabyte. Each wait differs by a "
            "tenth at random, so that processes do not ask together; after a failure it is 30 "
            "s, then twice that each time, up to this. 0: nobody is asked, and the built-in "
            "list is all there is",
            takes="0, or a number from 1",
        ),
    ] = 3600
