"""What the simulated models say: words only, no logic.

Sentences fit any question. `{topic}` is a word of the prompt, `{excerpt}` a short piece of it,
`{model}` the id that was asked for. There is something beyond ASCII in every opening, so that
every answer exercises UTF-8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.simulator.temperaments import Style

# The first sentence of every answer says what it is.
OPENINGS: Mapping[Style, str] = {
    "plain": "This is a simulated answer by `{model}` — no real model was asked.",
    "guide": "Here is a simulated guide from `{model}` — its steps are real, its wisdom is not.",
    "essay": "What follows is a simulated essay by `{model}` — composed from a box of sentences.",
    "verse": "A simulated poem, by `{model}`, which has never seen the sea 🌊.",
    "code": "Simulated code from `{model}` — it runs, but nobody thought about it.",
    "table": "A simulated analysis by `{model}` — the figures are as made up as the rest.",
    "terse": "Simulated — by `{model}`.",
    "ramble": "Well — this is a simulated answer by `{model}`, so get yourself a café au lait ☕.",
    "polyglot": "A simulated answer — une réponse simulée, 模拟的回答 — from `{model}` 🌍.",
}
REFERENCES = (
    "You asked: “{excerpt}”",
    "The question was “{excerpt}”",
    "It is about “{excerpt}”",
    "On the table lies “{excerpt}”",
)
NO_REFERENCE = "You asked nothing in particular, which is the hardest question of all."
CLOSINGS: Mapping[Style, str] = {
    "plain": "That is all there is to it — for a simulation.",
    "guide": "Go through the list once more from the top, and you are done. ✅",
    "essay": "The rest — as ever — is practice.",
    "verse": "And there the ink runs out — good night. 🌙",
    "code": "Run it, change one line, and run it again. 🐍",
    "table": "Sources: none — see the first sentence.",
    "terse": "Done. ✔",
    "ramble": "But I have been going on for quite a while — where were we? 🤔",
    "polyglot": "Merci, 谢谢, ありがとう, danke — and thank you. 🙏",
}

ADVICE = (
    "Begin with the smallest version of {topic} that could possibly work.",
    "Most of the difficulty is in the edges, so look at the edges first.",
    "Write down what must not happen, and you will see what must.",
    "A good name for the problem is worth half of the solution.",
    "If two explanations fit, take the one that is easier to test.",
    "Nobody has ever regretted measuring before tuning.",
    "What happens once can happen a thousand times, so plan for the thousand.",
    "The obvious approach is often right, and it is always the right place to start.",
    "Keep the parts of {topic} that change apart from the parts that do not.",
    "There is a naïve answer, a clever answer and a good answer; the good one is short.",
    "Ask who would notice if it broke, and how soon.",
    "Some of this can be undone later; spend your care on what cannot.",
    "An example says more than a definition, and two examples say more than one.",
    "It helps to explain {topic} to somebody who has never heard of it.",
    "When everything seems urgent, the order hardly matters, so pick one thing and finish it.",
    "The first draft shows what the question really was.",
    "Sleep on it — the second look is cheaper than the second attempt.",
    "Every rule here has an exception, and the exceptions are where the fun begins.",
    "Take away what is not needed, then look again.",
    "Seen from far enough away, {topic} is a matter of queues and patience.",
    "Small steps are faster than large ones, because fewer of them lead backwards.",
    "What is written down can be discussed; what is not can only be remembered.",
    "It is fine to be wrong early and expensive to be wrong late.",
    "Let the tools do the dull part, and do the interesting part yourself.",
    "A table, a drawing or a walk around the block: all three have solved harder problems.",
    "Listen to the person who uses it every day, even if they cannot say why.",
    "Good defaults are kinder than good manuals.",
    "If {topic} feels complicated, there may be two things in it that want to be apart.",
)
ASIDES = (
    "Then again: ",
    "Where was I? Ah, yes. ",
    "My grandmother, had I had one, would have said: ",
    "As an aside — and I promise that it is a short one: ",
    "Come to think of it: ",
    "I read somewhere, or made it up: ",
    "To put it differently: ",
    "But that is another story. ",
)
THINKING = "This is simulated thinking, so nobody is really weighing anything."
THOUGHTS = (
    "The question seems to be about {topic}.",
    "Is there a trap in it? Perhaps not.",
    "A list would be too much, one sentence too little.",
    "What would the reader do with the answer?",
    "There are two ways to go; the shorter one will do.",
    "Let me look at {topic} from the other end.",
    "That contradicts what I thought a moment ago, so one of the two is wrong.",
    "Fine — the first idea holds.",
    "I should say early that this is a simulation.",
    "An example would help; which one?",
    "Enough: time to write it down.",
)
TERSE = (
    "Yes.",
    "No — not quite.",
    "It depends.",
    "Try {topic} first.",
    "Then measure.",
    "Keep it small.",
    "Ask again tomorrow.",
    "Less is enough.",
    "Mind the edges.",
    "Two steps, not three.",
    "Write it down.",
    "Repeat.",
)
VERSES = (
    "The morning brings {topic} to the door,",
    "a lamp is left alight upon the stair,",
    "and someone counts the waves along the shore",
    "and finds the same uncertain number there.",
    "The kettle hums a note it cannot keep,",
    "the tide comes in as if by accident,",
    "a thousand little tasks have gone to sleep",
    "and none of them remembers what it meant.",
    "O café table, naïve and unsigned,",
    "on you the world was put to rights before;",
    "a word was all that we had come to find —",
    "we found it, and it opened like a door.",
)
HEADINGS = (
    "What matters",
    "A first step",
    "Where it gets hard",
    "An example",
    "In short",
    "What to avoid",
    "Looking further",
    "Déjà vu",
)
TABLES: Sequence[str] = (
    """\
| Option | Effort | Result | Verdict |
|:-------|-------:|-------:|:-------:|
| Do nothing | 0 h | 12 % | 😴 |
| The naïve way | 2 h | 61 % | 🙂 |
| The careful way | 9 h | 83 % | 👍 |
| Everything at once | 40 h | 84 % | 🤯 |""",
    """\
| Stage | Waiting | Working |
|-------|--------:|--------:|
| Asking | 0.2 s | 1.1 s |
| Thinking | 3.4 s | 0.7 s |
| Answering | 0.1 s | 5.8 s |""",
    """\
| City | Café | Rating |
|:-----|:-----|-------:|
| Zürich | Zähringer | 4.5 ★ |
| 京都 | 一期一会 | 4.8 ★ |
| São Paulo | Pão & Cia | 4.6 ★ |""",
    """\
| Claim | Evidence | Holds? |
|-------|----------|:------:|
| Smaller is faster | 3 of 4 trials | ✅ |
| Newer is better | none | ❌ |
| It depends | all trials | ✅ |""",
)
PROGRAMS: Sequence[str] = (
    """\
```python
import trio


async def ask(name: str, seconds: float) -> None:
    await trio.sleep(seconds)
    print(f"{name} answered after {seconds} s")


async def main() -> None:
    async with trio.open_nursery() as nursery:
        for name, seconds in [("swift", 0.1), ("steady", 0.4), ("careful", 1.5)]:
            nursery.start_soon(ask, name, seconds)
    print("everyone is done — nothing is left running")


trio.run(main)
```""",
    '''\
```python
from collections import Counter


def most_common_words(text: str, count: int = 3) -> list[str]:
    """The words that a text cannot do without."""
    words = Counter(text.casefold().split())
    return [word for word, _ in words.most_common(count)]


print(most_common_words("the café, the quay, and the tide"))
```''',
    '''\
```python
def fibonacci(limit: int) -> list[int]:
    """Every Fibonacci number below the limit."""
    numbers = [0, 1]
    while (following := numbers[-1] + numbers[-2]) < limit:
        numbers.append(following)
    return numbers


assert fibonacci(50)[-1] == 34
```''',
    '''\
```python
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, and what it costs in hours."""

    name: str
    hours: float


def total(steps: list[Step]) -> float:
    return sum(step.hours for step in steps)


print(total([Step("look", 0.5), Step("think", 2), Step("write", 1)]))
```''',
)
TONGUES = (
    "Commençons par le début : {topic} n’est pas si compliqué.",
    "Am Anfang steht die Frage, und die Antwort läßt auf sich warten.",
    "千里之行，始于足下。",
    "急がば回れ、と昔の人は言いました。",
    "La respuesta más corta suele ser la mejor, ¿no?",
    "Тише едешь — дальше будешь.",
    "시작이 반이다.",
    "Η αρχή είναι το ήμισυ του παντός.",
    "Vær tålmodig, så går det nok.",
    "الصبر مفتاح الفرج.",
    "धीरे-धीरे सब कुछ होता है।",
    "Devagar se vai ao longe — e {topic} também. 🐢",
    "Kell egy kis idő, és minden a helyére kerül.",
    "And in English: {topic} will work out in the end. 🎉",
)
