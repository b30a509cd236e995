"""All measurements, one after the other."""

from tests.bench.side_by_side import main

main()
