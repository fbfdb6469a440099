"""Who may read and write: keys, their roles and rotation, and what holds without keys."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lsr.errors import ConfigError
from lsr.service import auth
from lsr.service.auth import KeyFile, add_key, read_keys, remove_keys

SEARCH = "/v1/indexes/shop/search"
WRITE = "/v1/indexes/shop/documents"
LINES = {"Content-Type": "application/x-ndjson"}
Clients = Callable[..., AbstractContextManager[TestClient]]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_the_file_holds_hashes_only_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secret = add_key(file, "page", "read")
    assert secret not in file.read_text() and secret.removeprefix("lsr_") not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    assert KeyFile(file).find(secret) == read_keys(file)[0]
    assert KeyFile(file).find(secret[:-1]) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": [{"name": "a"}]}', '{"keys": [1]}'])
def test_a_file_that_holds_no_keys_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(text)
    with pytest.raises(ConfigError):
        read_keys(file)


def test_roles_are_kept_apart(shop: Path, tmp_path: Path, client_for: Clients) -> None:
    file = tmp_path / "keys.json"
    reads, writes = add_key(file, "reader", "read"), add_key(file, "writer", "write")
    with client_for(shop, keys=file) as client:
        refused = client.post(SEARCH, json={"query": "a"})
        assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
        assert client.post(SEARCH, json={"query": "a"}, headers=bearer("x")).status_code == 401
        for key in (reads, writes):
            assert client.post(SEARCH, json={"query": "a"}, headers=bearer(key)).status_code == 200
        assert client.post(SEARCH, json={"query": "a"}, headers={"X-API-Key": reads}).is_success
        bad = b'{"_id": 1.5}\n'
        assert client.post(WRITE, content=bad, headers=LINES | bearer(reads)).status_code == 403
        assert client.post(WRITE, content=bad, headers=LINES | bearer(writes)).status_code == 200
        for probe in ("/livez", "/readyz", "/version", "/openapi.json", "/"):
            assert client.get(probe).status_code == 200
        assert client.get("/metrics").status_code == 401


def test_keys_rotate_without_a_restart(
    shop: Path, tmp_path: Path, client_for: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_LOOK_AGAIN", 0.0)
    file = tmp_path / "keys.json"
    old = add_key(file, "page", "read")
    with client_for(shop, keys=file) as client:

        def status(key: str) -> int:
            return client.get("/v1/indexes", headers=bearer(key)).status_code

        new = add_key(file, "page", "read")
        assert (status(old), status(new)) == (200, 200)
        assert remove_keys(file, read_keys(file)[0].fingerprint) == 1
        assert (status(old), status(new)) == (401, 200)
        file.write_text("{broken")
        assert status(new) == 200
        time.sleep(0.01)
        file.write_text(json.dumps({"keys": []}))
        assert status(new) == 401


def test_without_keys_only_this_machine_writes(shop: Path, client_for: Clients) -> None:
    bad = b'{"_id": 1.5}\n'
    with client_for(shop, peer="192.0.2.7", host="0.0.0.0") as client:
        assert client.post(SEARCH, json={"query": "a"}).status_code == 200
        assert client.post(WRITE, content=bad, headers=LINES).status_code == 403
        assert client.delete(f"{WRITE}/d1").status_code == 403
    with client_for(shop) as client:
        assert client.post(WRITE, content=bad, headers=LINES).status_code == 200
        for header in ({"X-Forwarded-For": "192.0.2.7"}, {"Origin": "https://evil.example"}):
            assert client.post(WRITE, content=bad, headers=LINES | header).status_code == 403
        own = {"Origin": "http://localhost"}
        assert client.post(WRITE, content=bad, headers=LINES | own).status_code == 200


def test_a_foreign_name_for_this_machine_is_refused(shop: Path, client_for: Clients) -> None:
    with client_for(shop, names="search.example") as client:
        for host, status in (
            ("evil.example", 421), ("localhost:8321", 200), ("127.0.0.1", 200), ("[::1]:80", 200),
            ("search.example", 200), ("127.0.0.1.evil.example", 421),
        ):  # fmt: skip
            assert client.get("/v1/indexes", headers={"Host": host}).status_code == status, host


def test_pages_of_other_origins_are_let_in_only_when_named(shop: Path, client_for: Clients) -> None:
    asks = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    with client_for(shop) as client:
        answer = client.options(SEARCH, headers=asks)
        assert "access-control-allow-origin" not in answer.headers
    with client_for(shop, cors="https://app.example") as client:
        answer = client.options(SEARCH, headers=asks)
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        other = client.options(SEARCH, headers={**asks, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_read_only_takes_no_documents(shop: Path, client_for: Clients) -> None:
    with client_for(shop, read_only=True) as client:
        answer = client.post(WRITE, content=b'{"_id": "a", "text": "b"}\n', headers=LINES)
        assert answer.status_code == 403 and "read-only" in answer.json()["detail"]


def test_the_page_is_fenced_in(shop: Path, client_for: Clients) -> None:
    with client_for(shop) as client:
        for path in ("/", "/app.js", "/style.css"):
            headers = client.get(path).headers
            assert "script-src 'self'" in headers["content-security-policy"]
            assert headers["x-frame-options"] == "DENY"
            assert headers["x-content-type-options"] == "nosniff"
            again = client.get(path, headers={"If-None-Match": headers["etag"]})
            assert again.status_code == 304
    with client_for(shop, page=False) as client:
        assert client.get("/").status_code == 404
