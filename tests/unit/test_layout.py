"""How the rooms stand: what a wrong file in the wrong place would break for everybody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_IMPORT_EVERYTHING = """
import importlib, pkgutil, socket, sys
sys.path[:0] = ["http"]

def refuse(*_):
    raise AssertionError("a module opened a connection while it was imported")

socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = refuse
count = 0
for package in ("timer_service", "timer_http"):
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(found.__path__, package + "."):
        if module.name.rpartition(".")[2] not in {"__main__", "wsgi"}:
            importlib.import_module(module.name)
            count += 1
print(count)
"""


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_standard_librarys_http_is_not_shadowed() -> None:
    out = run_python("import http.client, http.server; print(http.client.__file__)")
    assert str(ROOT) not in out


def test_the_folder_http_holds_nothing_but_the_package() -> None:
    assert [one.name for one in (ROOT / "http").glob("*.py")] == []
    assert not (ROOT / "tests" / "http").exists()


def test_importing_any_module_opens_no_connection_and_needs_no_setting() -> None:
    assert int(run_python(_IMPORT_EVERYTHING)) > 80


def test_importing_the_package_is_cheap() -> None:
    code = "import timer_service, sys; print('sqlalchemy' in sys.modules, 'rq' in sys.modules)"
    assert run_python(code).split() == ["False", "False"]


def test_only_the_records_hold_sql() -> None:
    """Words of SQL in capitals, outside of the rooms that may have them."""
    may = {"records", "database_connection.py", "tables.py", "doctor.py"}
    found = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "timer_service").rglob("*.py")
        if not may & set(path.relative_to(ROOT / "timer_service").parts)
        and any(
            word in path.read_text()
            for word in ("SELECT ", "UPDATE ", "INSERT INTO", "DELETE FROM")
        )
    ]
    assert found == []
