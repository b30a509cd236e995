"""`python -m service` is `compare-stream`."""

from service.cli import main

if __name__ == "__main__":
    main()
