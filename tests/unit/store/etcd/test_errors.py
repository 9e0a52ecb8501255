"""What etcd refuses says what to do about it, and what breaks is not tried again at once by all."""

from __future__ import annotations

from shardproxy.store.etcd.errors import EtcdRefusedError, error_of
from shardproxy.store.etcd.reader import MAX_PATIENT, MAX_RETRY, retry_after


def test_a_full_etcd_names_the_remedy() -> None:
    error = error_of(8, "etcdserver: mvcc: database space exceeded", "http://10.0.0.1:2379")
    assert isinstance(error, EtcdRefusedError), "another member would say the same"
    assert "alarm disarm" in str(error)
    assert not isinstance(error_of(8, "etcdserver: too many requests", ""), EtcdRefusedError)


def test_a_watch_that_breaks_at_once_is_begun_less_and_less() -> None:
    for is_patient, most in ((False, MAX_RETRY), (True, MAX_PATIENT)):
        pauses = [retry_after(breaks, is_patient=is_patient) for breaks in range(2000)]
        assert 0.1 <= pauses[0] <= 0.2
        assert all(most / 2 <= pause <= most for pause in pauses[10:])
        assert len(set(pauses)) == len(pauses)
