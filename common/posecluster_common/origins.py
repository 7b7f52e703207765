"""Origins of web pages (RFC 6454), in the form in which browsers send them in the `Origin` header."""

import re

# `*` or scheme://host[:port]; the CRD has the same pattern
PATTERN = r"^([*]|[a-z][-a-z0-9+.]*://([a-z0-9]([-_a-z0-9.]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?)$"
_DEFAULT_PORT = re.compile("http:.*:80|https:.*:443")


def has_default_port(origin: str) -> bool:
    """Return whether the origin names its scheme's default port, which browsers never send."""
    return _DEFAULT_PORT.fullmatch(origin) is not None
