"""The board and the alerts under docs/operations, and what holds them to the metrics that exist.

`python -m tests.board` writes the board anew, out of `panels.py`: thousands of lines of JSON are
nothing to read, and a test holds that the file is what comes out.
"""
