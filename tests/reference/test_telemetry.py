"""Traces that arrive at an OTLP receiver, with the GenAI names and none of the words."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from scripted import call, reply, text
from test_cli import mcp
from test_faces import HERE

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")


@pytest.fixture
def receiver():
    """An OTLP receiver: `bodies` are what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            server.bodies.append(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.bodies = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def run(tmp_path, model, **more):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HARNESS_STATE_DIR": str(tmp_path / "state"),
                   "ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "sk-canary-key"} | more  # fmt: skip
    return subprocess.run([sys.executable, "-m", "reference_harness", "run", "secret prompt", *mcp(tmp_path)],
                          cwd=HERE.parents[1], env=environment, capture_output=True, text=True, timeout=60, check=False)  # fmt: skip


def test_a_turn_its_requests_and_its_tools_are_spans(tmp_path, scripted, receiver):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    model = scripted(
        reply(text("secret words"), call("t1", "look", nonce="secret"), call("t2", "wipe", nonce="b")),
        reply(text("ok")),
    )
    ran = run(
        tmp_path, model, HARNESS_OTEL="1", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.server_address[1]}"
    )
    assert ran.returncode == 0, ran.stderr
    assert not any(b"secret" in body or b"sk-canary" in body for body in receiver.bodies)
    spans = {}
    for body in receiver.bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            ours = [
                scope for scope in resource.scope_spans if scope.scope.name == "reference_harness"
            ]  # mcp has its own
            spans |= {(s.name, s.start_time_unix_nano): s for scope in ours for s in scope.spans}
    names = sorted(name for name, _ in spans)
    assert names == ["chat claude-sonnet-5", "chat claude-sonnet-5", "execute_tool look", "invoke_agent main"]
    by_name = {name: span for (name, _), span in spans.items()}
    turn, chat, tool = by_name["invoke_agent main"], by_name["chat claude-sonnet-5"], by_name["execute_tool look"]
    assert {chat.parent_span_id, tool.parent_span_id} == {turn.span_id}
    assert attributes(chat)["gen_ai.usage.input_tokens"] == 100
    assert attributes(chat)["gen_ai.provider.name"] == "anthropic"
    assert attributes(tool)["gen_ai.tool.call.id"] == "t1"
    events = [(event.name, attributes(event)["verdict"]) for event in turn.events]
    assert events == [("reference_harness.decision", "allow"), ("reference_harness.decision", "deny")]


def attributes(of):
    return {a.key: a.value.int_value or a.value.string_value for a in of.attributes}


def test_nothing_is_sent_unless_it_is_switched_on(tmp_path, scripted, receiver):
    ran = run(
        tmp_path,
        scripted(reply(text("ok"))),
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.server_address[1]}",
    )
    assert ran.returncode == 0
    assert receiver.bodies == []


def test_a_receiver_that_is_not_there_does_not_stop_the_turn(tmp_path, scripted):
    ran = run(tmp_path, scripted(reply(text("ok"))), HARNESS_OTEL="1", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
              OTEL_EXPORTER_OTLP_TIMEOUT="1")  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "ok\n")
