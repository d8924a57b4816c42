"""The other player: vcrpy itself loads each cassette and replays it to the SDK in this process."""

from __future__ import annotations

import json
from pathlib import Path

import anthropic
import pytest
import vcr
from tapes import ALL, NAMES
from vcr.persisters.filesystem import FilesystemPersister
from vcr.serializers import yamlserializer

from conformance.bench.tapes import read
from conformance.bench.wire.anthropic_tape import message_of

MATCH = ["method", "path", "body"]


@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_vcrpy_loads_it_and_keeps_its_provenance(path: Path) -> None:
    requests, responses, metadata = FilesystemPersister.load_cassette(path, yamlserializer)
    assert len(requests) == len(responses) == len(metadata["conformance"]["roles"])


@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")  # the harness's choice, on the day of recording
@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_vcrpy_replays_it_to_the_sdk(path: Path) -> None:
    found = read(path).interactions
    with vcr.use_cassette(str(path), record_mode="none", match_on=MATCH) as cassette:
        client = anthropic.Anthropic(api_key="none", base_url="http://scripted-model.invalid", max_retries=0)
        for one in found:
            body = json.loads(one.request.body)
            if one.status != 200:
                with pytest.raises(anthropic.APIStatusError) as caught:
                    client.post("/v1/messages", body=body, cast_to=object)
                assert caught.value.status_code == one.status
                continue
            with client.messages.stream(**{k: v for k, v in body.items() if k != "stream"}) as stream:
                message = stream.get_final_message()
            assert message.stop_reason == message_of(one.body, streamed=True)["stop_reason"]
            assert [block.type for block in message.content] == [
                block["type"] for block in message_of(one.body, streamed=True)["content"]
            ]
        assert cassette.all_played
