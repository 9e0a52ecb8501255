"""With which key the backups of a place are read."""

from __future__ import annotations

import pytest

from shardproxy.app.importing import backups_at
from shardproxy.config import Backups

OWN = Backups(to="/backups/own/", key_file="/keys/own")


@pytest.mark.parametrize("place", ["/backups/own", "/backups//own/", "/backups/own/old", "/backups/x/../own"])
def test_the_own_place_has_the_own_key_however_it_is_written(place: str) -> None:
    assert backups_at(OWN, place, None, unencrypted=False).key_file == "/keys/own"
    assert backups_at(OWN, place, None, unencrypted=True).key_file is None
    assert backups_at(OWN, place, "/keys/other", unencrypted=False).key_file == "/keys/other"


@pytest.mark.parametrize("place", ["/backups/owner", "/backups", "s3://backups/own", "http://x"])
def test_elsewhere_are_the_backups_of_others(place: str) -> None:
    assert backups_at(OWN, place, None, unencrypted=False).key_file is None
    assert backups_at(None, place, None, unencrypted=False).key_file is None
