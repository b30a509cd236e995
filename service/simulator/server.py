"""The simulated provider on a loopback port: routes, and answers played at their times.

One task per connection. While it plays an answer, a second one listens for the client's leaving,
which cancels the answer at once. Nothing that a client does reaches further than its connection,
and leaving `open_simulator` ends everything.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import h11
import structlog
import trio

from service.simulator.answering import Answer, Cue, compose, refusal_by, timetable, whole
from service.simulator.connection import MAX_BODY_BYTES, Connection, Request
from service.simulator.dialect import (
    ChatRequest,
    Envelope,
    RequestError,
    error_json,
    models_json,
    parse_request,
)
from service.simulator.temperaments import Temperament, temperament_for

__all__ = ["Simulator", "open_simulator"]

_ROUTES = {"/v1/models": "GET", "/v1/chat/completions": "POST"}

# Cues that are due together go in one write of about this size. Small enough for a flood to give
# the other answers their turn, large enough to cost little.
_WRITE_BYTES = 16 * 1024

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Simulator:
    """The running provider, and what it has to tell of itself."""

    def __init__(self, *, base_url: str, seed: int = 0, speed: float = 1.0) -> None:
        self.base_url = base_url
        """As a client is configured with it: up to and with ``/v1``."""
        self.started = 0
        """Answers begun; refusals are none."""
        self.ended = 0
        """Answers over, in whatever way."""
        self._seed = seed
        self._speed = speed

    @property
    def running(self) -> int:
        """Answers under way."""
        return self.started - self.ended

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Answer one client's requests until it leaves; a fault of either side ends only this."""
        connection = Connection(stream)
        try:
            await self._serve(connection)
        except* trio.BrokenResourceError:
            pass  # the client's doing, and the client knows
        except* Exception:
            log.exception("simulator failed")

    async def _serve(self, connection: Connection) -> None:
        try:
            while (request := await connection.next_request()) is not None:
                await self._answer(connection, request)
        except h11.RemoteProtocolError as error:
            refusal = RequestError(error.error_status_hint, "invalid_request", str(error))
            await connection.refuse(error, error_json(refusal))

    async def _answer(self, connection: Connection, request: Request) -> None:
        try:
            body = _admit(request)
            if request.path == "/v1/models":
                await connection.respond(200, models_json())
            else:
                chat = parse_request(body)
                await self._complete(connection, chat, _temperament(chat))
        except RequestError as error:
            await connection.respond(error.status, error_json(error), error.headers)

    async def _complete(
        self, connection: Connection, chat: ChatRequest, temperament: Temperament
    ) -> None:
        start = trio.current_time()
        answer = compose(chat, temperament, seed=self._seed, speed=self._speed)
        self.started += 1
        envelope = Envelope(
            id=f"gen-simulated-{self.started}", created=int(time.time()), model=chat.model
        )
        give = _stream if chat.stream else _give_whole
        try:
            async with connection.while_client_stays():
                await give(connection, answer, envelope, start)
        finally:
            self.ended += 1


def _admit(request: Request) -> bytes:
    """The request's body, if it came to a door that we have."""
    method = _ROUTES.get(request.path)
    if method is None:
        raise RequestError(404, "not_found", f"There is nothing at {request.path}.")
    if request.method != method:
        raise RequestError(
            405,
            "method_not_allowed",
            f"{request.path} takes {method} only.",
            headers=(("Allow", method),),
        )
    if request.body is None:
        raise RequestError(
            413, "payload_too_large", f"A request has at most {MAX_BODY_BYTES} bytes."
        )
    return request.body


def _temperament(chat: ChatRequest) -> Temperament:
    temperament = temperament_for(chat.model)
    if temperament is None:
        raise RequestError(404, "model_not_found", f"There is no model {chat.model}.")
    if (refusal := refusal_by(temperament)) is not None:
        raise refusal
    return temperament


async def _give_whole(
    connection: Connection, answer: Answer, envelope: Envelope, start: float
) -> None:
    await trio.sleep_until(start + answer.duration)
    status, body = whole(answer, envelope)
    await connection.respond(status, body)


async def _stream(connection: Connection, answer: Answer, envelope: Envelope, start: float) -> None:
    await connection.begin("text/event-stream")
    await _play(connection, timetable(answer, envelope), start)
    await connection.end()


async def _play(connection: Connection, cues: Iterable[Cue], start: float) -> None:
    """Send every cue at its time, counted from `start`; what is due already goes in one write."""
    now = trio.current_time()
    batch = bytearray()
    for due, data in cues:
        if start + due > now or len(batch) >= _WRITE_BYTES:
            if batch:
                await connection.send(bytes(batch))
                batch.clear()
            if start + due > trio.current_time():
                await trio.sleep_until(start + due)
            now = trio.current_time()
        batch += data
    if batch:
        await connection.send(bytes(batch))


@asynccontextmanager
async def open_simulator(*, seed: int = 0, speed: float = 1.0) -> AsyncIterator[Simulator]:
    """Serve the simulated models on a free loopback port, for as long as the context lasts.

    The seed varies the texts; `speed` divides every delay. Leaving closes the port and every
    connection, and cancels the answers under way.
    """
    if not speed > 0:
        raise ValueError(f"speed must be more than 0, not {speed}")
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    simulator = Simulator(base_url=f"http://127.0.0.1:{port}/v1", seed=seed, speed=speed)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, simulator.serve, listeners)
        yield simulator
        nursery.cancel_scope.cancel("the simulator is closed")
