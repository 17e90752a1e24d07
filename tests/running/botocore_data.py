"""botocore's description of S3, read once for a process: to read it is most of what each client of boto3 costs."""

from __future__ import annotations


def share_botocores_data() -> None:
    """Let all sessions of this process, and of those that it forks, have one loader, which keeps what it has read."""
    import botocore.session
    from botocore.loaders import Loader

    loader = Loader()
    botocore.session.create_loader = lambda _search_path=None: loader  # type: ignore[assignment]
