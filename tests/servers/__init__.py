"""One real server per module, each on a free port of 127.0.0.1, in a directory of its own, gone with its parent."""
