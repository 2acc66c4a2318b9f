from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from providers.errors import (
    Misconfigured,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Rejected,
    ServerFault,
    UnknownModel,
)
from providers.failures import from_event, from_status, retry_after_seconds

STATUSES = {
    100: ServerFault,
    201: ServerFault,
    204: ServerFault,
    301: Misconfigured,
    307: Misconfigured,
    400: Rejected,
    401: Misconfigured,
    402: Misconfigured,
    403: Misconfigured,
    404: Misconfigured,
    405: ServerFault,
    408: ServerFault,
    409: ServerFault,
    413: Rejected,
    418: ServerFault,
    422: Rejected,
    425: ServerFault,
    429: RateLimited,
    499: ServerFault,
    500: ServerFault,
    501: ServerFault,
    502: ServerFault,
    503: Overloaded,
    504: ServerFault,
    520: ServerFault,
    529: Overloaded,
    599: ServerFault,
}
SECRET = "Incorrect API key provided: sk-verysecret"


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
def test_every_status_has_its_class_and_keeps_its_number(status, kind):
    error = from_status(status, {}, b"", "up")
    assert type(error) is kind
    assert error.status == status
    assert error.label == str(status)
    assert "up" in error.message


@pytest.mark.parametrize("status", STATUSES)
def test_no_message_holds_the_upstream_s_words(status):
    body = orjson.dumps({"error": {"message": SECRET, "type": SECRET, "code": SECRET}})
    headers = {"content-type": SECRET, "location": SECRET, "www-authenticate": SECRET}
    error = from_status(status, headers, body, "up")
    assert "sk-" not in f"{error.message}{error}{error!r}{error.reason}{error.label}"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_the_body_of_a_rejection_travels_as_it_came(status):
    body = b'{"error": {"message":"too long", "n_ctx": 4096}}'
    error = from_status(
        status, {"x-ratelimit-remaining-requests": "7", "x-request-id": "u1", "set-cookie": "x"}, body, "up"
    )
    assert isinstance(error, Rejected)
    assert error.body == body
    assert error.headers == {"x-ratelimit-remaining-requests": "7", "x-upstream-request-id": "u1"}


@pytest.mark.parametrize("body", [b"", b"<html>plain HTTP sent to an HTTPS port</html>", b"\x1f\x8b\x08"])
def test_a_rejection_that_is_not_json_is_put_into_our_words(body):
    """Once: HTML and compressed bytes were relayed to the client as they came."""
    error = from_status(400, {"content-type": "text/html"}, body, "up")
    assert isinstance(error, Rejected)
    assert set(orjson.loads(error.body)["error"]) == {"message", "type", "param", "code"}
    assert b"html" not in error.body


@pytest.mark.parametrize("code", ["²", "9" * 5000, "4e2", " 400", "0x1F4", True])
def test_a_code_that_is_no_status_raises_nothing_foreign(code):
    """Once: "²".isdigit() is true, and int() raised."""
    assert type(from_event({"code": code}, "up")) is ServerFault


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'"x"', b"null", b"{}", b'{"error":"Unauthorized"}', b"\xff", b'{"error":[]}']
)
@pytest.mark.parametrize("status", STATUSES)
def test_no_body_upsets_the_table(status, body):
    assert type(from_status(status, {}, body, "up")) is STATUSES[status]


def test_vllm_s_answer_to_a_wrong_key_is_our_misconfiguration():
    error = from_status(401, {}, b'{"error":"Unauthorized"}', "vllm")
    assert isinstance(error, Misconfigured)
    assert error.message == "vllm refused the gateway's credentials (401)"


QUOTA = ["insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "enforced_spend_limit_reached"]


@pytest.mark.parametrize("code", QUOTA)
@pytest.mark.parametrize("member", ["code", "type"])
@pytest.mark.parametrize("where", ["status", "event"])
def test_a_429_that_no_waiting_cures_is_exhausted_quota(code, member, where):
    error = {"message": "pay", member: code}
    made = from_status(429, {}, orjson.dumps({"error": error}), "up") if where == "status" else from_event(error, "up")
    assert isinstance(made, QuotaExhausted)


@pytest.mark.parametrize("code", [429, "429", "rate_limited", "other"])
def test_the_type_names_an_exhausted_quota_whatever_the_code(code):
    """Once only the first truthy one of code and type was looked at."""
    body = orjson.dumps({"error": {"type": "insufficient_quota", "code": code}})
    assert isinstance(from_status(429, {}, body, "up"), QuotaExhausted)


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "tokens", None, 429, ""])
def test_any_other_429_is_a_rate_limit(code):
    error = from_status(429, {"retry-after": "7"}, orjson.dumps({"error": {"code": code}}), "up")
    assert isinstance(error, RateLimited)
    assert error.retry_after == 7


@pytest.mark.parametrize("code", [{"a": 1}, ["a"]], ids=repr)
@pytest.mark.parametrize("member", ["code", "type"])
def test_a_code_of_the_wrong_type_raises_nothing_foreign(member, code):
    """Once a dict or a list was a TypeError (unhashable) in the search for a quota's code."""
    error = {member: code}
    assert isinstance(from_status(429, {}, orjson.dumps({"error": error}), "up"), RateLimited)
    assert isinstance(from_event(error, "up"), ServerFault)


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ("boom", ServerFault, None),
        ({}, ServerFault, None),
        ({"code": 500}, ServerFault, 500),
        ({"code": "server_error"}, ServerFault, None),
        ({"code": 429}, RateLimited, 429),
        ({"code": "rate_limit_exceeded"}, RateLimited, None),
        ({"type": "rate_limit_error"}, RateLimited, None),
        ({"code": 503, "type": "unavailable_error"}, Overloaded, 503),
        ({"code": 529}, Overloaded, 529),
        ({"type": "overloaded_error"}, Overloaded, None),
        ({"type": "service_unavailable_error", "code": "server_is_overloaded"}, Overloaded, None),
        ({"code": 200}, ServerFault, None),
        ({"code": 0}, ServerFault, None),
        ({"code": 12345}, ServerFault, None),
        ({"code": 5.03}, ServerFault, None),
        ({"type": "insufficient_quota", "code": 429}, QuotaExhausted, 429),
        (["x"], ServerFault, None),
        (True, ServerFault, None),
    ],
    ids=repr,
)
def test_an_error_inside_an_answer(error, kind, status):
    made = from_event(error, "up")
    assert type(made) is kind
    assert made.status == status


@pytest.mark.parametrize("error", [SECRET, {"message": SECRET, "type": SECRET, "code": SECRET}])
def test_no_message_repeats_an_error_inside_an_answer(error):
    assert "sk-" not in str(from_event(error, "up"))


@pytest.mark.parametrize(
    ("said", "heard"), [("true", True), ("false", False), ("", None), ("maybe", None), (None, None)]
)
@pytest.mark.parametrize("status", [401, 307, 408, 429, 500, 503, 529])
def test_the_upstream_s_word_on_another_attempt_is_kept(status, said, heard):
    headers = {} if said is None else {"x-should-retry": said}
    assert from_status(status, headers, b"", "up").should_retry is heard


def test_an_exhausted_quota_keeps_what_the_upstream_said_of_retries():
    headers = {"retry-after": "3600", "x-should-retry": "false"}
    error = from_status(429, headers, b'{"error":{"code":"insufficient_quota"}}', "up")
    assert isinstance(error, QuotaExhausted)
    assert (error.retry_after, error.should_retry) == (3600.0, False)


# --- Retry-After ------------------------------------------------------------------------------------------------

NOON = "Mon, 01 Jan 2024 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": " 3 "}, 3),
        ({"retry-after-ms": "300"}, 0.3),
        ({"retry-after-ms": "300", "retry-after": "30"}, 0.3),
        ({"retry-after-ms": "soon", "retry-after": "30"}, 30),
        ({"retry-after": "Mon, 01 Jan 2024 12:00:09 GMT", "date": NOON}, 9),
        ({"retry-after": "Mon, 01 Jan 2024 11:59:00 GMT", "date": NOON}, 0),
        ({"retry-after": "Mon, 01 Jan 2024 14:00:09 +0200", "date": NOON}, 9),
        ({"retry-after": "Mon, 01 Jan 2024 12:00:09 GMT"}, None),
        ({"retry-after": "Mon, 01 Jan 2024 12:00:09 GMT", "date": "yesterday"}, None),
        ({"retry-after": "Mon, 01 Jan 2024 12:00:09 -0000", "date": NOON}, None),
        ({"retry-after": "soon", "date": NOON}, None),
        ({"retry-after": "", "date": NOON}, None),
        ({"retry-after": "-1", "date": NOON}, None),
        ({"retry-after-ms": "-1"}, None),
        ({"retry-after": "inf", "date": NOON}, None),
        ({"retry-after": "-inf", "date": NOON}, None),
        ({"retry-after": "1e999", "date": NOON}, None),
        ({"retry-after": "nan", "date": NOON}, None),
    ],
    ids=str,
)
def test_retry_after(headers, seconds):
    assert retry_after_seconds(headers) == seconds


WORDS = st.lists(
    st.sampled_from(
        ["Mon,", "01", "Jan", "2024", "99999999999", "12:00:09", "99:99:99", "GMT", "+9999", "-0000", "(", "a"]
    )
    | st.text(max_size=4),
    max_size=7,
).map(" ".join)


@examples(300)
@given(WORDS, WORDS | st.just(NOON))
def test_no_garbage_in_retry_after_raises(value, date):
    seconds = retry_after_seconds({"retry-after": value, "date": date})
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize("value", ["Mon, 01 Jan 99999999999 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 +99999999999999"])
@pytest.mark.parametrize("header", ["retry-after", "date"])
def test_a_date_out_of_all_bounds_is_no_date(header, value):
    """Once it was an OverflowError, a foreign exception."""
    assert retry_after_seconds({"retry-after": NOON, "date": NOON, header: value}) is None


@examples(100)
@given(st.binary(max_size=20), st.integers(100, 599).filter(lambda status: status != 200))
def test_whatever_an_upstream_answers_becomes_a_provider_error(body, status):
    assert isinstance(from_status(status, {}, body, "up"), ProviderError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "429"}, RateLimited),
        ({"code": "503"}, Overloaded),
        ({"code": 400, "message": "too long"}, Rejected),
        ({"code": 422}, Rejected),
        ({"code": 401}, Misconfigured),
        ({"code": 404}, Misconfigured),
        ({"code": 700}, ServerFault),
    ],
)
def test_an_error_inside_an_answer_means_what_its_code_would_have_meant_as_a_status(error, kind):
    assert type(from_event(error, "up")) is kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (
            {"error": {"message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404}},
            UnknownModel,
        ),  # vLLM
        ({"object": "error", "message": "The model `x` does not exist.", "code": 404}, UnknownModel),  # before 0.10
        ({"error": {"message": "no access", "type": "invalid_request_error", "code": "model_not_found"}}, UnknownModel),
        (
            {"error": {"message": 'model "x" not found, try pulling it first', "type": "api_error"}},
            UnknownModel,
        ),  # Ollama
        ({"error": {"message": "Previous response with id 'resp_1' not found.", "code": "x"}}, Misconfigured),
        ({"detail": "Not Found"}, Misconfigured),
        ({"error": "nothing here"}, Misconfigured),
        ([], Misconfigured),
    ],
)
def test_a_404_says_whether_it_is_the_model_that_is_unknown(body, kind):
    """It may as well be the path, or an id in the request, and those fail nobody else."""
    assert type(from_status(404, {}, orjson.dumps(body), "up")) is kind
