"""What tests of jobs begin with that run the whole program."""

from __future__ import annotations

from tests.stories.conftest import bare_installation, forked_commands, installation, nas

__all__ = ["bare_installation", "forked_commands", "installation", "nas"]
