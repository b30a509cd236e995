"""One call to a provider over HTTP, the same for every dialect.

A dialect is pure: it makes a request from a prompt, and an answer from bytes. This file does the
I/O between the two, and decides by status and media type what the bytes are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog
import trio

from service.errors import ProviderError
from service.providers import Ending, Prompt, Sink
from service.providers.dialect import Delta, Dialect, Reading
from service.providers.rates import rate_of
from service.redaction import presentable
from service.tracing import headers_along
from service.upstream import Client, Reply

__all__ = ["HTTPProvider"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

ERROR_BODY_BYTES = 64 * 1024
ERROR_BODY_SECONDS = 5
"""What an error's body may cost us: it is read for one sentence."""
WHOLE_ANSWER_BYTES = 8 * 1024 * 1024
"""A whole answer in one JSON object; the longest answers of the models have about 0.5 MiB."""
GLANCES_IN_VAIN = 4
"""Beats without a word after which a model is waited for at its socket again."""
LONGEST_REASON = 64
"""Characters of a finish reason; it is a word."""
AFTER_THE_MARKER_SECONDS = 0.02
"""How long the end of the body may lag behind the terminal marker before the connection is
closed instead of kept: the last chunk of a well-kept server is in the same packet."""


class HTTPProvider:
    """A provider that is reached over HTTP.

    `secret` is cut out of every word that the provider says.
    """

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        client: Client,
        *,
        secret: str | None = None,
        simulated: bool = False,
    ) -> None:
        self.name = name
        self.simulated = simulated
        self._dialect = dialect
        self._client = client
        self._secret = secret

    def parameters(self, prompt: Prompt) -> Mapping[str, Any]:
        """What is sent besides model and messages."""
        return self._dialect.parameters(prompt)

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        """Ask, and push the answer into `sink`; see `Provider.stream`."""
        request = self._dialect.request(prompt)
        try:
            async with self._client.post(
                request.url,
                headers=request.headers,
                body=request.body,
                on_connected=sink.connected,
                room=sink.room,
                along=headers_along(request.url),
            ) as reply:
                if reply.status not in (200, 204):
                    sink.refused()
                sink.first_byte()
                if (rate := rate_of(reply.headers)) is not None:
                    sink.rate(rate)
                ending = await self._read(reply, sink)
        except ProviderError as error:
            # Not from `error` itself: a traceback would show its words as they came.
            raise self._presentable(error) from error.__cause__
        return replace(ending, finish_reason=self._reason(ending.finish_reason))

    async def _read(self, reply: Reply, sink: Sink) -> Ending:
        if reply.status == 204:
            raise ProviderError("empty_response", "The provider answered without any content.")
        if reply.status != 200:
            raise await self._refusal(reply)
        if reply.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise ProviderError(
                "protocol_error", "The provider compressed its answer though asked not to."
            )
        reading = self._dialect.reading()
        try:
            await self._read_into(reading, reply, sink)
            return reading.ending()
        except ProviderError as error:
            error.usage, error.cost_usd = reading.usage, reading.cost_usd
            error.finish_reason = reading.finish_reason
            raise
        except BaseException:  # cancelled: nobody else knows what has been reported
            sink.reported(reading.usage, reading.cost_usd)
            raise

    async def _read_into(self, reading: Reading, reply: Reply, sink: Sink) -> None:
        match reply.media_type:
            case "" | self._dialect.media_type:
                await self._read_stream(reply, reading, sink)
            case "application/json":
                await self._read_whole(reply, reading, sink)
            case media_type:
                start = presentable(
                    (await _beginning(reply)).decode(errors="replace"),
                    secret=self._secret,
                    limit=200,
                )
                log.warning("not an event stream", provider=self.name, body=start)
                raise ProviderError(
                    "not_event_stream",
                    f"The provider answered with {media_type} instead of an event stream.",
                )

    async def _read_stream(self, reply: Reply, reading: Reading, sink: Sink) -> None:
        broken: ProviderError | None = None
        try:
            async with reply.chunks() as chunks:
                glance = _Glance(reply, reading, sink)
                while chunk := glance.left() or await anext(chunks, b""):
                    texts = reading.plain(chunk)
                    if texts:  # nearly always
                        await sink.text(
                            *texts,
                            more=reply.has_more,
                            step=glance.step,
                            came_at=reply.came_at,
                        )
                        continue
                    sink.alive()
                    if texts is not None:
                        continue  # a whole event, and nothing in it
                    came_at = reply.came_at
                    for delta, is_last in _with_the_last(together(reading.feed(chunk))):
                        # What is here already waits for nothing, and one that has said why it
                        # stopped is not kept waiting for its end.
                        more = not is_last or reply.has_more or reading.finished
                        await _hand_on(delta, sink, more=more, came_at=came_at)
                        came_at = None  # that wait may have been long
                    if reading.marked_done:
                        await _find_the_end(chunks, at_once=reply.is_whole)
                        return
        except ProviderError as error:
            if reading.marked_done:
                return  # whatever happens to the connection now, the answer is whole
            if error.code != "upstream_disconnected":
                raise
            broken = error
        for delta in together(reading.flush()):
            await _hand_on(delta, sink)
        # With a finish reason, what is missing is at most the accounting behind a whole answer.
        if broken is not None and not reading.finished:
            raise broken
        log.debug("no terminal marker", provider=self.name, missing_done=True)

    async def _read_whole(self, reply: Reply, reading: Reading, sink: Sink) -> None:
        body = await reply.read(WHOLE_ANSWER_BYTES)
        if len(body) == WHOLE_ANSWER_BYTES:
            raise ProviderError(
                "frame_too_large", "The provider sent an answer larger than the service takes."
            )
        log.debug("answer came whole, not as a stream", provider=self.name, streamed=False)
        for delta in together(reading.whole(body)):
            await _hand_on(delta, sink)

    async def _refusal(self, reply: Reply) -> ProviderError:
        return self._dialect.refusal(reply.status, reply.headers, await _beginning(reply))

    def _presentable(self, error: ProviderError) -> ProviderError:
        words = presentable(str(error), secret=self._secret)
        return ProviderError(
            error.code,
            words or "The provider reported an error without saying which.",
            retryable=error.retryable,
            retry_after=error.retry_after,
            usage=error.usage,
            cost_usd=error.cost_usd,
            finish_reason=self._reason(error.finish_reason),
            of_model=error.of_model,
        )

    def _reason(self, reason: str | None) -> str | None:
        return reason and presentable(reason, secret=self._secret, limit=LONGEST_REASON)


class _Glance:
    """A look at what has come of an answer, without waiting; see `Sink.text`."""

    def __init__(self, reply: Reply, reading: Reading, sink: Sink) -> None:
        self._reply = reply
        self._reading = reading
        self._sink = sink
        self._left = b""
        self._in_vain = 0

    def left(self) -> bytes:
        """What was read and is more than text: for the model's own task."""
        left, self._left = self._left, b""
        self._in_vain = 0
        return left

    def step(self) -> bool:
        """Hand on what has come if it is text; False: there is something else to do."""
        if not self._sink.has_room():
            return False
        data = self._reply.read_nowait()
        if data is None:
            self._in_vain += 1
            return self._in_vain < GLANCES_IN_VAIN
        self._in_vain = 0
        texts = self._reading.plain(data)
        if not texts:
            self._left = data if texts is None else b""
            return False
        self._sink.text_nowait(texts)
        return not self._reply.has_more


def together(deltas: Iterable[Delta]) -> Iterator[Delta]:
    """The same pieces, texts behind one another as one; those before a fault come before it."""
    texts: list[str] = []
    fault: ProviderError | None = None
    try:
        for delta in deltas:
            if delta.reasoning:
                if texts:
                    yield Delta(texts=tuple(texts))
                    texts = []
                yield Delta(reasoning=delta.reasoning)
            texts += delta.texts
    except ProviderError as error:
        fault = error
    if texts:
        yield Delta(texts=tuple(texts))
    if fault is not None:
        raise fault


def _with_the_last(deltas: Iterable[Delta]) -> Iterator[tuple[Delta, bool]]:
    """Each piece, and whether it is the last; those before a fault come before it, too."""
    waiting: Delta | None = None
    fault: ProviderError | None = None
    try:
        for delta in deltas:
            if waiting is not None:
                yield waiting, False
            waiting = delta
    except ProviderError as error:
        fault = error
    if waiting is not None:
        yield waiting, fault is None
    if fault is not None:
        raise fault


async def _find_the_end(chunks: AsyncIterator[bytes], *, at_once: bool) -> None:
    """Read on behind the terminal marker, for the connection to be of further use."""
    if at_once:
        await anext(chunks, None)
    else:
        with trio.move_on_after(AFTER_THE_MARKER_SECONDS):
            await anext(chunks, None)


async def _beginning(reply: Reply) -> bytes:
    """What can be had of a body that is read for one sentence; its breaking off is no news."""
    body = b""
    with suppress(ProviderError), trio.move_on_after(ERROR_BODY_SECONDS):
        async with reply.chunks() as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) >= ERROR_BODY_BYTES:
                    break
    return body[:ERROR_BODY_BYTES]


async def _hand_on(
    delta: Delta, sink: Sink, *, more: bool = True, came_at: float | None = None
) -> None:
    if delta.reasoning:
        await sink.reasoning(delta.reasoning, more=more or bool(delta.texts))
        came_at = None
    if delta.texts:
        await sink.text(*delta.texts, more=more, came_at=came_at)
