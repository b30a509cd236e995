"""The pages, as files; `importlib.resources` finds them in a wheel too."""
