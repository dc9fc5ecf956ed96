"""The JSON Schema says what the models accept, and the models do not change after loading."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lb_switch.config.schema import Timeouts, json_schema


def test_every_key_is_described() -> None:
    schema = json_schema()
    tables = [schema, *schema["$defs"].values()]
    assert len(tables) == 7
    for table in tables:
        assert table["additionalProperties"] is False
        for key, value in table["properties"].items():
            assert value.get("description") or "$ref" in value, key


def test_it_lists_the_choices() -> None:
    properties = json_schema()["$defs"]["VirtualServerTable"]["properties"]
    assert properties["scheduler"]["enum"] == ["rr", "wrr", "lc", "wlc", "sh", "mh"]
    assert properties["address"]["examples"] == ["10.0.1.100:80", "[2001:db8::100]:80"]


def test_required_keys() -> None:
    definitions = json_schema()["$defs"]
    assert definitions["VirtualServerTable"]["required"] == ["name", "address"]
    assert definitions["RealServerTable"]["required"] == ["address"]


def test_models_are_frozen() -> None:
    timeouts = Timeouts()
    with pytest.raises(ValidationError, match="frozen"):
        timeouts.udp = 1.0
