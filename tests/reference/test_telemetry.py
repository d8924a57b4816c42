"""Traces that arrive at an OTLP receiver, with the GenAI names and none of the words."""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from inside import Watcher, harness, tools
from scripted import call, reply, text
from test_cli import mcp
from test_faces import HERE

from reference_harness import telemetry
from reference_harness.errors import ModelFault

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


@pytest.fixture
def spans(monkeypatch):
    """What a tracer of this process alone was given to export, by name."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setenv("HARNESS_OTEL", "1")
    monkeypatch.setattr(telemetry, "_tracer", lambda: provider.get_tracer("test"))
    return lambda: {span.name: span for span in exporter.get_finished_spans()}


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_childs_turn_stands_in_the_call_that_started_it_and_a_cancel_ends_every_span(cancelled, tmp_path, run, spans):
    work = ("endless", {}) if cancelled else ("look", {"what": "a"})
    script = [[("agent", {"type": "general-purpose", "prompt": "secret"})], [work], "child done", "done"]

    async def live():
        one = harness(tmp_path, *script)
        session = await one.new_session(str(tmp_path), [source := tools()])
        session.client = Watcher()
        turn = asyncio.ensure_future(session.prompt("go"))
        while not source.ran:
            await asyncio.sleep(0.005)
        if cancelled:
            await session.cancel()
        assert (await turn).reason == ("cancelled" if cancelled else "end_turn")
        made = spans()
        await one.close()
        assert made.keys() == spans().keys(), "nothing was left open"
        return made

    made = run(live())
    inside = ["invoke_agent main", "execute_tool agent", "invoke_agent general-purpose", f"execute_tool {work[0]}"]
    for outer, inner in pairwise(inside):
        assert made[inner].parent.span_id == made[outer].context.span_id, inner
    assert made["chat scripted"].status.is_ok
    assert [made[name].status.is_ok for name in inside[1::2]] == [not cancelled] * 2
    assert not [span for span in made.values() if "secret" in span.to_json()]


def test_what_a_provider_says_of_an_error_is_not_exported(tmp_path, run, spans):
    async def live():
        one = harness(tmp_path, ModelFault("secret words of a provider"))
        session = await one.new_session(str(tmp_path))
        with pytest.raises(ModelFault):
            await session.prompt("go")
        await one.close()

    run(live())
    failed = spans()["chat scripted"]
    assert (failed.status.is_ok, failed.attributes["error.type"]) == (False, "model_fault")
    assert not [span for span in spans().values() if "secret" in span.to_json()]


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
