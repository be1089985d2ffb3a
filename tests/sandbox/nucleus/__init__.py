"""A model of the Greengrass nucleus, in either dialect; `tests/sandbox/ipc.py` serves it."""
