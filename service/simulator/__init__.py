"""A provider of our own: simulated models over real HTTP, so that nothing here needs a key.

It speaks the OpenAI chat-completions dialect as OpenRouter does, on a loopback port, with faults
included. A request is read (`connection`), understood (`dialect`), given a temperament
(`temperaments`) that writes (`writing`, `phrases`), put on a timetable (`answering`) and played
to the client (`server`). Each of these imports only what stands before it; only `connection` and
`server` do I/O.
"""

from service.simulator.server import Simulator, open_simulator
from service.simulator.temperaments import MODELS, Temperament, temperament_for

__all__ = ["MODELS", "Simulator", "Temperament", "open_simulator", "temperament_for"]
