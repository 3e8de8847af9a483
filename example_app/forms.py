"""What a user may enter: an address that can be checked, or a sentence that says why not."""

from urllib.parse import urlsplit

import httpx2

MAX_LENGTH = 500


class FormError(ValueError):
    """What was entered cannot be used; the message is for the user."""


def clean_url(text: str) -> str:
    """Bring an address into one form, so that the same one is not watched twice.

    Raises:
        FormError: it is not an http or https URL with a host, or too long.
    """
    text = text.strip()
    _check_text(text)
    try:
        parts, url = urlsplit(text), httpx2.URL(text)
        port, _ = parts.port, url.host  # both are parsed only when they are looked at
    except ValueError as error:
        raise FormError(_in_words(error)) from None
    except httpx2.InvalidURL as error:
        raise FormError(_in_words(error)) from None
    _check_parts(parts.scheme, url)
    if port == 0 or (url.port or 0) > 65535:
        raise FormError("The port must be from 1 to 65535.")
    path = url.raw_path if url.raw_path.startswith(b"/") else b"/" + url.raw_path
    cleaned = str(url.copy_with(fragment=None, raw_path=path, port=url.port))
    if len(cleaned) > MAX_LENGTH:  # percent-encoding makes it longer
        raise FormError(_too_long(len(cleaned)))
    return cleaned


def _check_text(text: str) -> None:
    if not text:
        raise FormError("Enter an address, such as https://example.org/.")
    if len(text) > MAX_LENGTH:
        raise FormError(_too_long(len(text)))
    if any(c.isspace() or not c.isprintable() or c == "\\" for c in text):
        raise FormError("An address has no spaces, backslashes or control characters in it.")


def _check_parts(scheme: str, url: httpx2.URL) -> None:
    if scheme not in {"http", "https"}:
        raise FormError("The address must start with http:// or https://.")
    if url.userinfo:
        raise FormError("Leave out the user name and password: everybody here would see them.")
    host = url.raw_host.decode("ascii", "replace")
    if not host.strip("."):
        raise FormError("The address has no host name, such as example.org.")
    is_name = ":" not in host
    labels = host.removesuffix(".").split(".")
    if is_name and (len(host) > 253 or not all(0 < len(label) <= 63 for label in labels)):
        raise FormError("The host name is not valid: a part of it is empty or too long.")
    if is_name and not all(c.isalnum() or c in "-_." for c in host):
        raise FormError("The host name has a character in it that is not allowed there.")


def _too_long(length: int) -> str:
    return f"The address is too long: {length} characters, and {MAX_LENGTH} are allowed."


def _in_words(error: Exception) -> str:
    if "port" in str(error).lower():
        return "The port must be a number from 1 to 65535."
    return "This is not a valid address: the host name cannot be read."
