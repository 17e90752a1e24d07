"""The parts of an upload; `storage.upload` shows their order."""
