"""What goes wrong when an engine is made."""


class BackendFailed(Exception):
    """A backend cannot serve this model here; the text is one line for a person."""
