"""The command line: `compare-stream serve | ask | verify | models`.

Exit codes: 0 done; 1 it ran and the answer is no (a model failed, the verdict is not CONCURRENT);
2 it could not run (wrong arguments or settings, address in use, server not reachable);
130 stopped by Ctrl-C. An error is one line on standard error.
"""

from service.cli.main import main

__all__ = ["main"]
