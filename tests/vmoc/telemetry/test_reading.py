"""Adding up the numbers of several processes."""

from __future__ import annotations

from dataclasses import fields

from vmoc.telemetry.reading import Reading, add


def test_every_field_is_added():
    one, two = Reading(), Reading()
    for number, field in enumerate(fields(Reading), 1):
        for reading in (one, two):
            if field.name == "switches":
                setattr(reading, field.name, {7: reading is one})
            elif isinstance(getattr(reading, field.name), int):
                setattr(reading, field.name, number)
            else:
                setattr(reading, field.name, {"both": number, ("one" if reading is one else "two"): 1})
    total = add([one, two])
    for number, field in enumerate(fields(Reading), 1):
        value = getattr(total, field.name)
        if field.name == "switches":
            assert value == {7: True}
        elif isinstance(value, int):
            assert value == 2 * number, field.name
        else:
            assert value == {"both": 2 * number, "one": 1, "two": 1}, field.name


def test_a_switch_that_is_away_from_all_is_away():
    assert add([Reading(switches={1: False}), Reading(switches={1: False, 2: True})]).switches == {1: False, 2: True}


def test_nothing_adds_up_to_nothing():
    assert add([]) == Reading()
