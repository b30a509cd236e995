"""Write the board anew: `python -m tests.board`."""

from __future__ import annotations

from tests.board.files import BOARD
from tests.board.panels import written

if __name__ == "__main__":
    BOARD.write_text(written())
