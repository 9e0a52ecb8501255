"""The README's secure setup, done as it is written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from shardproxy.fleet import Fleet, free_port

ROOT = Path(__file__).parents[2]
TIMEOUT = 60.0  # seconds


def commands(heading: str) -> list[str]:
    """The commands under a heading of the README."""
    text = (ROOT / "README.md").read_text()
    found = re.search(rf"^### {heading}\n.*?^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1].splitlines()


def test_five_commands_make_a_secure_cache(fleet: Fleet, tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    node = str(fleet.nodes[0].address)
    config = (ROOT / "config" / "start.yaml").read_text()
    config = config.replace("0.0.0.0:7443", f"0.0.0.0:{port}").replace("127.0.0.1:6379", node)
    (tmp_path / "start.yaml").write_text(
        f"{config}    failover: {{enabled: false}}\nadmin: 127.0.0.1:{admin}\n"
    )
    ready = f"import urllib.request as web; web.urlopen('http://127.0.0.1:{admin}/readyz')"
    (tmp_path / "ready.py").write_text(ready)
    wait = 'until "$PYTHON" ready.py 2>/dev/null; do sleep 0.05; kill -0 "$!" || exit 9; done'
    *make, serve, use = commands("Secure, from nothing")
    assert len(make) == 3
    use = use.replace("7443", str(port))
    wrong = use.replace('"$APP_PASSWORD"', "guessed")
    plain = f"redis-cli -p {port} ping"
    script = ["set -eu", *make, serve, "trap 'kill $!; wait $!' EXIT", wait]
    script += [use, f"{wrong} || true", f"{plain} || true"]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    done = subprocess.Popen(
        ("bash", "-c", "\n".join(script)),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = done.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(done.pid, signal.SIGKILL)
        raise
    assert re.search(r"^OK$", said, re.MULTILINE), said
    assert "WRONGPASS" in said
    assert "PONG" not in said
    assert (tmp_path / "tls.key").stat().st_mode & 0o077 == 0, "openssl keeps keys from others"
