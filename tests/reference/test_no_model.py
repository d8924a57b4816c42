"""Where no model is: a login page, a proxy's error, a redirect. It is told in words, and no key goes further."""

from __future__ import annotations

import pytest
from scripted import reply, text
from test_faces import harness

HTML = {"content-type": "text/html; charset=utf-8"}
LOGIN = (
    b"<!DOCTYPE html><html><head><title>Sign in</title><style>p {color: red}</style>"
    b"<script>\ndata: {}\n\n</script></head>\n<body>to\x1b[2J\n Corp, sk-canary-key<p></body>" + b"x" * 9000
)
CHECK = "see that ANTHROPIC_BASE_URL is right"


@pytest.mark.parametrize(
    ("page", "told", "asked"),
    [({"page": LOGIN, "headers": HTML}, 'answered text/html that begins "Sign in to\\u{1b}[2J Corp, (key) xx', 1),
     ({"page": LOGIN, "headers": HTML, "status": 404}, 'answered 404: text/html that begins "Sign in to\\u{1b}', 1),
     ({"page": LOGIN, "headers": HTML, "status": 502}, 'answered 502: text/html that begins "Sign in to\\u{1b}', 4),
     ({"page": b'{"choices": []}', "headers": {"content-type": "application/json"}}, 'application/json that begins "{"', 1),
     ({"page": b"", "headers": {}}, "answered something, empty", 1),
     ({"page": b"<a <b", "headers": HTML}, "answered text/html, empty", 1)],
)  # fmt: skip
def test_what_is_no_reply_is_told_with_its_first_words_and_what_to_look_at(tmp_path, scripted, page, told, asked):
    model = scripted(page)
    ran = harness(tmp_path, model, "run", "go", HARNESS_RETRY_PAUSE="0")
    first, second = ran.stderr.splitlines()
    assert (ran.returncode, len(model.requests)) == (1, asked)
    assert told in first
    assert CHECK in first
    assert "127.0.0.1" in first
    assert "sk-canary-key" not in first
    assert len(first) < 400
    model.script[:] = [reply(text("Back."))]
    *_, session = second.split()
    assert harness(tmp_path, model, "resume", session).stdout == "Back.\n"


def test_a_redirect_is_told_and_the_key_does_not_follow_it(tmp_path, scripted):
    elsewhere = scripted(reply(text("Never.")))
    location = {"location": f"{elsewhere.url}/login?token=secret"}
    model = scripted({"page": b"", "headers": location, "status": 307})
    ran = harness(tmp_path, model, "run", "go", HARNESS_RETRY_PAUSE="0")
    assert (ran.returncode, elsewhere.requests) == (1, [])
    assert f"it redirects to {elsewhere.url}/login. What to do: {CHECK}" in ran.stderr


def test_nothing_that_a_provider_says_draws_on_the_terminal(tmp_path, scripted):
    wild = {"status": 400, "type": "invalid_request_error", "message": "no \x1b[2J\u202e\nharness: all is well"}
    broke = b'event: error\ndata: {"type":"error","error":{"type":"x","message":"no \\u001b[2J"}}\n\n'
    for fault in (wild, {"raw": broke} | reply(text("x"))):
        ran = harness(tmp_path, scripted(fault), "run", "go", HARNESS_RETRY_PAUSE="0")
        assert "no \\u{1b}[2J" in ran.stderr
        assert len(ran.stderr.splitlines()) == 2
