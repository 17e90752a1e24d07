"""What several kinds of provider share: requests over HTTP, object stores, resumed readings."""
