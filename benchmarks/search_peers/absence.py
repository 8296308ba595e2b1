"""Why a system takes no part."""


class NotHere(Exception):
    """A system could not be installed, started or filled here; the message says why, and the others go on."""
