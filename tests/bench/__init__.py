"""What a comparison costs, measured against other ways to serve it: `python -m tests.bench`.

Every figure of ours stands beside the same figure of another server in the same run, because a
machine's own speed and its noise are in both. Linux only: it asks `/proc` and epoll.
"""
