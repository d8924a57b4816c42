"""Fetching: off by default, from the public internet alone, one host a call. Against real servers on loopback."""

from __future__ import annotations

import gzip
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme
from workbench import Bench

from reference_harness import anthropic_model
from reference_harness.builtin import fetch

PAGE = b"<html><head><title>T</title><style>p{}</style></head><body><h1>Head</h1><p>One &amp; <b>two</b></p><script>evil()</script></body>"


class Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, self.headers["host"]))
        kind, body, status, more = {
            "/": ("text/html; charset=utf-8", PAGE, 200, {}),
            "/json": ("application/json", b'{"a": 1}', 200, {}),
            "/image": ("image/png", b"\x89PNG", 200, {}),
            "/packed": (
                "text/plain",
                gzip.compress(gzip.compress(b"0" * 50_000_000)),
                200,
                {"content-encoding": "gzip, gzip"},
            ),
            "/latin": ("text/plain; charset=latin-1", b"caf\xe9", 200, {}),
            "/odd": ("text/plain; charset=punycode", "na\u00efve".encode(), 200, {}),
            "/none": ("text/plain; charset=no-such", b"plain", 200, {}),
            "/broken": ("text/html", b"<a " * 600_000, 200, {}),
            "/gone": ("text/plain", b"not here", 404, {}),
            "/huge": ("text/plain", b"x" * 3_000_000, 200, {}),
            "/near": ("text/plain", b"", 302, {"location": "/json"}),
            "/far": ("text/plain", b"", 302, {"location": "http://169.254.169.254/secret"}),
            "/loop": ("text/plain", b"", 302, {"location": "/loop"}),
        }[self.path]
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_arguments):
        """A client that has read enough goes away."""


@pytest.fixture
def server():
    made = Server(("127.0.0.1", 0), Pages)
    made.seen = []
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def private(monkeypatch):
    monkeypatch.setenv("HARNESS_FETCH_PRIVATE", "allow")


def at(server, path="/", host="localhost"):
    return f"http://{host}:{server.server_address[1]}{path}"


def test_it_is_off_until_the_operator_names_it_and_then_it_asks(bench, run, server, private):
    async def story():
        session, person, harness = await bench.session([("fetch", {"url": at(server)})])
        await session.prompt("go")
        assert next(iter(session.workflow.calls.values())).state == "refused" and not person.asked
        await harness.close()
        session, person, harness = await bench.session([("fetch", {"url": at(server)})], enable=["fetch"])
        await session.prompt("go")
        assert [q.call.tool for q in person.asked] == ["fetch"]
        assert next(iter(session.workflow.calls.values())).text.endswith("Head\nOne & two")
        await harness.close()

    run(story())


def test_only_what_is_public_is_connected_to(bench, run, server):
    hosts = ("localhost", "127.0.0.1", "[::1]", "0", "2130706433", "127.1", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]")  # fmt: skip

    async def story():
        for host in hosts:
            answer = await bench.call("fetch", url=at(server, host=host))
            assert answer.is_error and not answer.uncertain
            assert "not on the public internet" in answer.text, host
        for url in ("file:///etc/passwd", "ftp://x/", "http://user:pw@localhost/", "nonsense", "http://"):
            assert "no http or https" in await bench.told("fetch", url=url)

    run(story())
    assert server.seen == []
    assert fetch.is_public("8.8.8.8") and fetch.is_public("2606:4700::1111")
    for address in (
        "2002:7f00:1::",
        "64:ff9b::a9fe:a9fe",
        "::127.0.0.1",
        "fec0::1",
        "fe80::1%eth0",
        "100.64.0.1",
        "ff0e::1",
    ):
        assert not fetch.is_public(address), address


def test_a_page_becomes_text_in_time_that_grows_with_it_alone():
    page = (
        "<title>T</title><style>p{}</style><p>a 3 < 4 <b>b</b><SCRIPT>x('</b>')</Script >c<br/>d<svg/>e<!-- <p> -->f"
        "<template>t</template>g<li>&lt;h&gt;<noscript>n</noscript><ul><li>i"
    )
    assert fetch.as_text(page) == "T\na 3 < 4 bc\ndefg\n<h>\ni"
    for piece in ("<!--", "<a ", "<", "</a", "<![CDATA[", "<a x='", "&", "<script>", "<script></script"):
        fetch.as_text(piece * (2_000_000 // len(piece)))  # of quadratic time, this would take hours


def test_text_is_told_and_the_rest_is_named(bench, run, server, private):
    async def story():
        assert await bench.told("fetch", url=at(server, "/json")) == '[200; application/json]\n{"a": 1}'
        assert "not text, left out" in await bench.told("fetch", url=at(server, "/image"))
        gone = await bench.call("fetch", url=at(server, "/gone"))
        assert gone.is_error and "404" in gone.text and "not here" in gone.text
        huge = await bench.told("fetch", url=at(server, "/huge"))
        assert "cut" in huge and len(huge) < 101_000

        assert "gzip, gzip: not text, left out" in await bench.told("fetch", url=at(server, "/packed"))
        for path, text in (("/latin", "caf\u00e9"), ("/odd", "na\u00efve"), ("/none", "plain")):
            assert (await bench.told("fetch", url=at(server, path))).endswith(f"\n{text}")
        assert (await bench.told("fetch", url=at(server, "/broken"))).startswith("[200; text/html]")

    run(story())
    assert {host for _, host in server.seen} == {f"localhost:{server.server_address[1]}"}


def test_a_redirect_is_followed_on_its_host_and_told_otherwise(bench, run, server, private):
    async def story():
        assert '{"a": 1}' in await bench.told("fetch", url=at(server, "/near"))
        far = await bench.call("fetch", url=at(server, "/far"))
        assert far.is_error and "leads to http://169.254.169.254/secret" in far.text
        assert "redirects" in await bench.told("fetch", url=at(server, "/loop"))
        assert (await bench.call("fetch", url="http://localhost:9/")).is_error

    run(story())


def test_over_tls_the_name_is_what_the_certificate_is_for(bench, run, server, private, monkeypatch):
    authority = trustme.CA()
    there, here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(there)
    authority.configure_trust(here)
    server.socket = there.wrap_socket(server.socket, server_side=True)

    async def story():
        url = at(server, "/json").replace("http:", "https:")
        assert "CERTIFICATE_VERIFY_FAILED" in await bench.told("fetch", url=url)
        monkeypatch.setattr(anthropic_model, "tls", lambda: here)
        assert '{"a": 1}' in await bench.told("fetch", url=url)
        assert (await bench.call("fetch", url=url.replace("localhost", "127.0.0.1"))).is_error

    run(story())
