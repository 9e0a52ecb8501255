"""etcd with users and with TLS: a user needs no more than its prefix, and files are read again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from shardproxy.store.etcd import EtcdStore
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.member import Member
from tests.fixtures.certificates import Authority, swap
from tests.fixtures.etcd import Etcd, StartEtcd, etcd_starter
from tests.integration.store.contract.sites import CLUSTER
from tests.integration.store.etcd.test_faults import KEY, PAUSED, RECORD, wait_for


@pytest.fixture(scope="module")
def guarded() -> Iterator[Etcd]:
    """One member with users: `proxy` may read and write below /shardproxy and no more."""
    for start in etcd_starter():
        etcd: Etcd = start(count=1)
        etcd.have_user("proxy", "first-secret", "/shardproxy")
        yield etcd


async def opened(nursery: trio.Nursery, settings: Any, member: str = "one", **given: Any) -> EtcdStore:
    store = EtcdStore(settings, member=member, **given)
    with trio.fail_after(8):
        await nursery.start(store.run)
    await store.follow([CLUSTER])
    return store


async def test_a_user_needs_its_prefix_and_no_more(
    guarded: Etcd, tmp_path: Path, nursery: trio.Nursery
) -> None:
    guarded.ctl("user", "add", "changing:first-secret")
    guarded.ctl("user", "grant-role", "changing", "proxy")
    password = tmp_path / "password"
    password.write_text("first-secret\n")
    settings = guarded.settings(prefix="/shardproxy", username="changing", password={"file": str(password)})
    one, two = await opened(nursery, settings), await opened(nursery, settings, "two")
    await one.announce(Member("one"))
    await one.ack(KEY, 1)
    leadership = await one.claim(CLUSTER)
    record = await one.put(RECORD, leadership)
    await wait_for(two.records, lambda: two.records.get(KEY) == record)
    await wait_for(two.acks, lambda: ("one", KEY) in two.acks)
    await one.note(PAUSED, True)
    await one.drop(PAUSED)
    # another password, and tokens that count no more
    password.write_text("second-secret\n")
    guarded.ctl("user", "passwd", "changing", "--interactive=false", told="second-secret\n")
    record = await one.put(record.fenced(), leadership)
    await wait_for(two.records, lambda: two.records.get(KEY) == record)
    # a member that was started again knows no token
    guarded.kill()
    guarded.start()
    await wait_for(one.synced, lambda: one.synced[CLUSTER], within=10)
    record = await one.put(record.fenced(), leadership)
    await wait_for(two.records, lambda: two.records.get(KEY) == record, within=10)
    await one.leave()
    await wait_for(two.members, lambda: not two.members)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"prefix": "/elsewhere"}, "permission denied: give the user a role with readwrite on the prefix"),
        ({"username": "nobody"}, "authentication failed"),
        ({"username": None, "password": None}, "etcd has users, so the store needs a username"),
    ],
    ids=["prefix", "login", "none"],
)
async def test_what_a_login_lacks_is_said(
    guarded: Etcd,
    given: dict[str, Any],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    nursery: trio.Nursery,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SECRET", "first-secret")
    settings = guarded.settings(
        **{"prefix": "/shardproxy", "username": "proxy", "password": {"env": "SECRET"}, **given}
    )
    store = EtcdStore(settings, member="one")
    nursery.start_soon(store.run)
    log = ""
    with trio.fail_after(5):
        while why not in log:
            await trio.sleep(0.05)
            log += capsys.readouterr().out
    assert "first-secret" not in log
    with pytest.raises(StoreUnavailableError):
        await store.claim(CLUSTER)
    nursery.cancel_scope.cancel()


async def test_tls_with_certificates_that_change(
    start_etcd: StartEtcd, authority: Authority, tmp_path: Path, nursery: trio.Nursery
) -> None:
    etcd = start_etcd(count=1, authority=authority)
    first, second = authority.issue("first"), authority.issue("second")
    links = {"certificate": tmp_path / "current.crt", "key": tmp_path / "current.key"}
    for kind, link in links.items():
        link.symlink_to(first[kind])
    # relative to the config's directory
    settings = etcd.settings(tls={"ca": "ca.pem", "certificate": "current.crt", "key": "current.key"})
    store = await opened(nursery, settings, directory=tmp_path)
    leadership = await store.claim(CLUSTER)
    record = await store.put(RECORD, leadership)
    for kind, link in links.items():
        swap(link, tmp_path / Path(second[kind]).name)
        (tmp_path / Path(first[kind]).name).unlink()
    record = await store.put(record.fenced(), leadership)
    assert store.records[KEY] == record
    nursery.cancel_scope.cancel()


async def test_tls_with_a_name_of_its_own(
    start_etcd: StartEtcd, authority: Authority, nursery: trio.Nursery
) -> None:
    etcd = start_etcd(count=1, authority=authority, names=("etcd.internal", "localhost", "127.0.0.1"))
    own = authority.issue("proxy")
    named = etcd.settings(tls={"ca": str(authority.ca), **own, "server_name": "etcd.internal"})
    await opened(nursery, named)
    nursery.cancel_scope.cancel()


async def test_another_authority_is_refused(
    start_etcd: StartEtcd,
    authority: Authority,
    tmp_path: Path,
    nursery: trio.Nursery,
    capsys: pytest.CaptureFixture[str],
) -> None:
    etcd = start_etcd(count=1, authority=authority)
    other = Authority(tmp_path, "other")
    store = EtcdStore(etcd.settings(tls={"ca": str(other.ca), **authority.issue("proxy")}), member="one")
    nursery.start_soon(store.run)
    log = ""
    with trio.fail_after(5):
        while "TLS: unable to get local issuer certificate" not in log:
            await trio.sleep(0.05)
            log += capsys.readouterr().out
    nursery.cancel_scope.cancel()
