"""What may stand in RECONCILER_MEDIA_STORE and RECONCILER_MEDIA_PUBLIC_URL, and what the internet can reach."""

from __future__ import annotations

import pytest

from reconciler.core.hosts import is_near
from reconciler.hosting.places import Place, place_of, public_base

PLACES = [
    ("s3://videos", Place("s3", "videos", ""), "a bucket"),
    ("s3://videos/", Place("s3", "videos", ""), "a slash says nothing"),
    ("s3://videos/in/here/", Place("s3", "videos", "in/here"), "a folder in it"),
    ("gs://videos/in", Place("gs", "videos", "in"), "Google"),
    ("az://videos/in", Place("az", "videos", "in"), "Azure"),
    ("file:///srv/media/", Place("file", "", "/srv/media"), "a folder"),
    ("file:///srv/my%20media", Place("file", "", "/srv/my media"), "escaped, as URLs are"),
]


@pytest.mark.parametrize(("text", "place", "reason"), PLACES)
def test_a_place_is_read(text: str, place: Place, reason: str) -> None:
    """Every kind of place is understood, and is the same one after it was written down."""
    assert place_of(text) == place, reason


WRONG = [
    ("videos", "like s3://", "no scheme"),
    ("s3://", "like s3://", "no bucket"),
    ("ftp://videos/in", "like s3://", "no kind of store"),
    ("s3://key:hush@videos/in", "keys belong", "credentials"),
    ("s3://videos?signature=hush", "keys belong", "a query"),
    ("s3://videos:9000/in", "keys belong", "a port"),
    ("file://srv/media", "whole path", "a host in place of a folder"),
    ("file:media", "whole path", "a relative folder"),
    ("s3://[", "like s3://", "no URL at all"),
]


@pytest.mark.parametrize(("text", "sentence", "reason"), WRONG)
def test_what_is_no_place_is_a_sentence_without_secrets(
    text: str, sentence: str, reason: str
) -> None:
    """A wrong place is explained, and what was written is not repeated."""
    with pytest.raises(ValueError, match=sentence) as caught:
        place_of(text)
    assert "hush" not in str(caught.value), reason


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://cdn.example.com", "https://cdn.example.com/"),
        ("http://example.com:8080/m/", "http://example.com:8080/m/"),
    ],
)
def test_a_public_url_ends_in_one_slash(text: str, base: str) -> None:
    """Keys are appended to it."""
    assert public_base(text) == base


@pytest.mark.parametrize(
    "text",
    ["cdn.example.com", "ftp://x", "https://", "https://u:p@x/", "https://x/?k=1", "https://["],
)
def test_what_is_no_public_url_is_refused(text: str) -> None:
    """Neither another scheme, nor keys, nor a query."""
    with pytest.raises(ValueError, match="it "):
        public_base(text)


HOSTS = [
    ("127.0.0.1", True), ("::1", True), ("[::1]", True), ("localhost", True), ("a.localhost", True),
    ("10.0.0.4", True), ("192.168.1.5", True), ("172.16.0.1", True), ("169.254.169.254", True),
    ("100.64.0.1", True), ("fd00::1", True), ("0.0.0.0", True), ("nas", True), ("nas.local", True),
    ("minio.lan", True), ("", True),
    ("203.0.114.9", False), ("cdn.example.com", False), ("localhost.example.com", False),
    ("2a00:1450::1", False),
]  # fmt: skip


@pytest.mark.parametrize(("host", "near"), HOSTS)
def test_what_the_internet_cannot_reach_is_known_by_its_spelling(host: str, near: bool) -> None:
    """Addresses of this machine and of local networks, and names that only a local network knows."""
    assert is_near(host) is near
