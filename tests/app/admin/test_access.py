"""Who gets in: S2, S3, S4, S10 and S32 of the security tests. Everything but the index is closed without the token."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest

from app.admin import access
from tests.app.admin.conftest import TOKEN, Desk, error_of

EVERYTHING = [
    ("GET", "/admin/targets"),
    ("POST", "/admin/targets/left/a/open"),
    ("PATCH", "/admin/routes/m/weights"),
    ("GET", "/admin/requests"),
    ("GET", "/admin/requests/r1"),
    ("GET", "/admin/config"),
    ("POST", "/admin/config/check"),
    ("POST", "/admin/explain"),
    ("GET", "/admin/events"),
    ("GET", "/admin/audit"),
    ("GET", "/admin/experiments"),
    ("GET", "/admin/faults"),
    ("GET", "/admin/faults/kinds"),
    ("POST", "/admin/faults"),
    ("POST", "/admin/faults/one/renew"),
    ("POST", "/admin/faults/stop"),
    ("DELETE", "/admin/faults"),
    ("DELETE", "/admin/faults/one"),
    ("GET", "/openapi.json"),
]
RIGHT = {"Authorization": f"Bearer {TOKEN}"}


async def test_s1_every_path_but_the_index_needs_the_token(desk: Desk) -> None:
    document = await desk.get("/openapi.json")
    listed = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert len(listed) == len(EVERYTHING)  # with the index, without the document itself
    for method, path in [
        *EVERYTHING,
        *listed,
        ("GET", "/nothing"),
        ("OPTIONS", "/"),
        ("POST", "/"),
        ("TRACE", "/admin"),
    ]:
        if (method, path) == ("GET", "/"):
            continue
        answer = await desk.stranger(method, path)
        assert answer.status_code == 401, (method, path)
        assert error_of(answer)["code"] == "invalid_admin_token"
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_index_has_no_data(desk: Desk) -> None:
    answer = await desk.stranger("GET", "/")
    assert answer.status_code == 200
    index = answer.json()
    assert set(index) == {"name", "version", "links"}
    assert "GET /admin/targets" in index["links"]
    assert not any(name in answer.text for name in ("left", "right", "cloud"))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN.upper()}",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}, Bearer {TOKEN}",
        f"Bearer {TOKEN} {TOKEN}",
        "Bearer null",
    ],
)
async def test_a_wrong_token_is_none(desk: Desk, authorization: str) -> None:
    answer = await desk.stranger("GET", "/admin/targets", headers={"Authorization": authorization})
    assert answer.status_code == 401
    assert "left" not in answer.text


async def test_the_schemes_name_is_not_case_sensitive(desk: Desk) -> None:
    assert (
        await desk.stranger("GET", "/admin/targets", headers={"Authorization": f"bearer {TOKEN}"})
    ).status_code == 200


async def test_a_key_of_the_data_port_is_none_here(desk: Desk) -> None:
    assert (await desk.stranger("GET", "/admin/targets", headers={"X-API-Key": TOKEN})).status_code == 401


@pytest.mark.parametrize("name", ["token", "access_token", "TOKEN", "api_key", "key"])
@pytest.mark.parametrize("headers", [{}, RIGHT], ids=["alone", "beside the right one"])
async def test_a_token_in_the_url_is_refused(desk: Desk, name: str, headers: dict[str, str]) -> None:
    answer = await desk.stranger("GET", f"/admin/targets?{name}={TOKEN}", headers=headers)
    assert answer.status_code == 400
    assert error_of(answer)["code"] == "token_in_url"
    assert TOKEN not in answer.text


@pytest.mark.parametrize("path", [path for _, path in EVERYTHING] + ["/admin", "/admin/", "/admin/nothing"])
async def test_s2_the_data_port_knows_nothing_of_it(desk: Desk, path: str) -> None:
    for method in ("GET", "POST", "PATCH", "DELETE"):
        if path == "/openapi.json":  # it has one of its own
            document = (await desk.data("GET", path)).json()
            assert not [name for name in document["paths"] if "admin" in name]
            continue
        answer = await desk.data(method, path, headers=RIGHT)
        assert answer.status_code == 404, (method, path)
        assert error_of(answer)["code"] == "unknown_path"


async def test_the_admin_port_serves_nothing_of_the_data_port(desk: Desk) -> None:
    for method, path in [
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("GET", "/health"),
    ]:
        answer = await desk.admin(method, path)
        assert (answer.status_code, error_of(answer)["code"]) == (404, "unknown_path")


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:8001", "127.0.0.1:8001", 200),
        ("http://localhost:8001", "localhost:8001", 200),
        ("http://[::1]:8001", "[::1]:8001", 200),
        ("http://localhost:9001", "localhost:9001", 200),  # a forwarded port
        ("https://evil.example", "127.0.0.1:8001", 403),
        ("http://localhost:3000", "localhost:8001", 403),
        ("http://evil.example:8001", "evil.example:8001", 403),  # a name made to point here
        ("http://127.0.0.1.evil.example:8001", "127.0.0.1.evil.example:8001", 403),
        ("null", "127.0.0.1:8001", 403),
        ("", "127.0.0.1:8001", 403),
        ("http://", "", 403),
        ("http://[", "[", 403),
        ("file://127.0.0.1:8001", "127.0.0.1:8001", 403),
    ],
)
async def test_pages_of_other_origins_are_refused_with_the_right_token_too(
    desk: Desk, origin: str, host: str, status: int
) -> None:
    for path in ("/admin/targets", "/"):
        answer = await desk.admin("GET", path, headers={"Origin": origin, "Host": host})
        assert answer.status_code == status
        assert "access-control-allow-origin" not in answer.headers
        if status == 403:
            assert error_of(answer)["code"] == "foreign_origin"


@pytest.mark.parametrize("host", ["x/../admin", "a?b", "@", "", "/", "127.0.0.1:8001/", "evil.example"])
async def test_s3_the_host_header_opens_nothing(desk: Desk, host: str) -> None:
    assert (await desk.stranger("GET", "/admin/targets", headers={"Host": host})).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "//",
        "/./",
        "/..",
        "//admin/targets",
        "/admin/../",
        "/admin/targets/",
        "/;a=b",
        "/%2e",
        "/%2F",
        "/ADMIN/targets",
        "/?x",
    ],
)
async def test_s4_odd_spellings_open_nothing(desk: Desk, path: str) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "client": None,
    }
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    await desk.edge(scope, receive, send)
    assert sent[0]["status"] == 401


def test_s10_the_token_is_compared_in_constant_time() -> None:
    """Nothing in this module compares the token in another way."""
    tree = ast.parse(inspect.getsource(access))
    compared = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    assert not [one for one in compared if "_token" in one or "given" in one]
    assert "hmac.compare_digest(given.strip(), self._token)" in ast.unparse(tree)


async def test_unknown_paths_and_methods_have_the_one_error_shape(desk: Desk) -> None:
    answer = await desk.admin("GET", "/admin/nothing")
    assert (answer.status_code, error_of(answer)["code"]) == (404, "unknown_path")
    answer = await desk.admin("DELETE", "/admin/targets")
    assert (answer.status_code, error_of(answer)["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"
    answer = await desk.admin("PUT", "/")
    assert answer.status_code == 405


async def test_head_is_get_here_too(desk: Desk) -> None:
    assert (await desk.stranger("HEAD", "/")).status_code == 200
    assert (await desk.stranger("HEAD", "/admin/targets")).status_code == 401
    assert (await desk.admin("HEAD", "/admin/targets")).status_code == 200


async def test_the_document_describes_what_there_is(desk: Desk) -> None:
    document = await desk.get("/openapi.json")
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert not [operation for operation in operations if "422" in operation["responses"]]
    assert document["paths"]["/admin/targets"]["get"]["security"] == [{"token": []}]
    assert document["paths"]["/"]["get"]["security"] == []
    for path, method in (("/admin/explain", "post"), ("/admin/routes/{model}/weights", "patch")):
        assert "application/json" in document["paths"][path][method]["requestBody"]["content"]
