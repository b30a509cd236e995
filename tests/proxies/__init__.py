"""nginx, Caddy and HAProxy in front: the files of docs/operations/, run by the real programs."""
