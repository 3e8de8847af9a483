from __future__ import annotations

import pytest

from example_app.forms import MAX_LENGTH, FormError, clean_url


@pytest.mark.parametrize(
    ("entered", "kept"),
    [
        ("http://example.org", "http://example.org/"),
        ("  https://example.org/a?b=c  ", "https://example.org/a?b=c"),
        ("HTTP://EXAMPLE.ORG:80/", "http://example.org/"),
        ("https://example.org:443/", "https://example.org/"),
        ("http://example.org:8080/a", "http://example.org:8080/a"),
        ("http://example.org/a#part", "http://example.org/a"),
        ("http://example.org?q=1", "http://example.org/?q=1"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/"),
        ("http://[::1]:8000/", "http://[::1]:8000/"),
        ("http://münchen.example/ü", "http://xn--mnchen-3ya.example/%C3%BC"),
        ("http://xn--a.example/", "http://xn--a.example/"),
        ("http://example.org/<script>", "http://example.org/%3Cscript%3E"),
    ],
)
def test_an_address_is_kept_in_one_form(entered: str, kept: str) -> None:
    """The same address written in two ways is the same on the board."""
    assert clean_url(entered) == kept
    assert clean_url(kept) == kept


@pytest.mark.parametrize(
    ("entered", "says"),
    [
        ("", "Enter an address"),
        ("   ", "Enter an address"),
        ("example.org", "must start with http"),
        ("//example.org/", "must start with http"),
        ("ftp://example.org/", "must start with http"),
        ("file:///etc/passwd", "must start with http"),
        ("javascript:alert(1)", "must start with http"),
        ("http://", "no host name"),
        ("http:///path", "no host name"),
        ("http://./", "no host name"),
        ("http://:8000/", "no host name"),
        ("http://a..b/", "host name is not valid"),
        (f"http://{'a' * 64}.example/", "host name is not valid"),
        ("http://exa<mple.org/", "not allowed"),
        ("http://a-.xn--mnchen-3ya.example/", "host name cannot be read"),
        ("http://☃.example/", "host name cannot be read"),
        ("http://[::1/", "host name cannot be read"),
        ("http://example.org:port/", "port must be"),
        ("http://example.org:0/", "port must be"),
        ("http://example.org:65536/", "port must be"),
        ("http://example.org:-1/", "port must be"),
        ("http://user:secret@example.org/", "user name and password"),
        ("http://example.org/a b", "no spaces"),
        ("http://example.org/\x00", "no spaces"),
        ("http://example.org\\@other.example/", "no spaces"),
        (f"http://example.org/{'a' * MAX_LENGTH}", "too long"),
        (f"http://example.org/{'ü' * 200}", "too long"),
    ],
)
def test_a_bad_address_is_refused_with_a_reason(entered: str, says: str) -> None:
    """Whoever enters what cannot be checked is told what is wrong with it."""
    with pytest.raises(FormError, match=says):
        clean_url(entered)
