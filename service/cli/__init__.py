"""The command line: `compare-stream serve | ask | verify | models`.

Exit codes: 0 done; 1 it ran and the answer is no (a model failed, the verdict is not CONCURRENT);
2 it could not run (wrong arguments or settings, a question that is refused, address in use, server
not reachable); 70 a fault of this program. 130 stopped by Ctrl-C, 143 by SIGTERM, 141 because
nobody reads the output any more.

An error is one line on standard error. For a fault of this program `--debug`, or COMPARE_DEBUG=1,
adds where it happened.
"""

from service.cli.main import main

__all__ = ["main"]
