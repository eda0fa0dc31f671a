"""All projections together: nothing is missing, nothing is twice."""

import re
from importlib.resources import files

import pytest
from event_samples import EXECUTION, make

from leasehold.domain.attempts import AttemptLeaseReclaimed, AttemptProgressed
from leasehold.domain.catalogue import EVENT_TYPES
from leasehold.domain.events import DomainEvent
from leasehold.domain.frames import FrameAppended, FrameMode
from leasehold.projections.changes import POSITION, Insert, Merge, Place, Rules
from leasehold.projections.registry import (
    KEYS,
    PROJECTION_VERSION,
    RULES,
    project,
)

PLACE = Place(str(EXECUTION), 4, "e5" * 32)
SUMMARY = make(FrameAppended, mode=FrameMode.SUMMARY, payload=b"{}", summary_version=1)

each_event_type = pytest.mark.parametrize(
    "event_type", EVENT_TYPES, ids=lambda each: each.TOPIC
)


@each_event_type
def test_every_event_is_projected(event_type) -> None:
    assert project(make(event_type), PLACE) != ()


@each_event_type
def test_an_event_changes_what_each_table_says_in_order(event_type) -> None:
    event = make(event_type)
    expected = [
        change
        for rules in RULES.values()
        if (rule := rules.rule_for(event_type)) is not None
        for change in rule(event, PLACE)
    ]
    assert list(project(event, PLACE)) == expected


def test_no_rule_is_for_an_event_that_is_not_stored() -> None:
    for rules in RULES.values():
        assert set(rules.event_types()) <= set(EVENT_TYPES)


def test_an_event_that_nobody_knows_is_not_projected() -> None:
    class Unknown(DomainEvent):
        TOPIC = "nobody.knows"

    unknown = Unknown(execution_id=make(FrameAppended).execution_id, occurred_at_ms=1)
    with pytest.raises(KeyError):
        project(unknown, PLACE)


def test_a_second_rule_for_an_event_is_refused() -> None:
    rules = Rules()
    first = rules.on(AttemptProgressed)(lambda event, place: ())
    with pytest.raises(ValueError, match="AttemptProgressed has a rule already"):
        rules.on(AttemptProgressed)(lambda event, place: ())
    assert rules.rule_for(AttemptProgressed) is first
    assert rules.rule_for(AttemptLeaseReclaimed) is None
    assert list(rules.event_types()) == [AttemptProgressed]


def tables_in_the_schema() -> dict[str, tuple[str, ...]]:
    """Return each projected table with its primary key, as the schema has them."""
    schema = files("leasehold.adapters.sqlite") / "schema" / "projected.sql"
    text = re.sub(r"--[^\n]*", "", schema.read_text("utf-8"))
    keys = {}
    for name, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\);", text, re.DOTALL):
        of_several = re.search(r"PRIMARY KEY \(([^)]*)\)", body)
        if of_several:
            keys[name] = tuple(of_several.group(1).split(", "))
        else:
            keys[name] = tuple(re.findall(r"(\w+) \w+ PRIMARY KEY", body))
    return keys


def test_every_projected_table_is_listed_with_its_key() -> None:
    assert dict(KEYS) == tables_in_the_schema()


@each_event_type
def test_a_change_addresses_a_listed_table_by_its_whole_key(event_type) -> None:
    for change in (*project(make(event_type), PLACE), *project(SUMMARY, PLACE)):
        key = change.values if isinstance(change, Insert) else change.key
        assert set(KEYS[change.table]) <= key.keys()
        if not isinstance(change, Insert):
            assert tuple(change.key) == KEYS[change.table]
            assert not set(change.key) & change.values.keys()


@each_event_type
def test_only_an_added_row_asks_for_the_position(event_type) -> None:
    for change in (*project(make(event_type), PLACE), *project(SUMMARY, PLACE)):
        if not isinstance(change, Insert):
            assert POSITION not in change.values.values()
        if isinstance(change, Merge):
            assert POSITION not in change.initial.values()


def test_the_version_of_the_projections_is_a_number_from_1() -> None:
    assert type(PROJECTION_VERSION) is int
    assert PROJECTION_VERSION >= 1
