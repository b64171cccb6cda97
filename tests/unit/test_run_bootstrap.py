from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "run"
CLI = """\
import os, sys

def main():
    print("timer-service", sys.argv[1:], os.getcwd(), __file__)
    return 3
"""
BENCH = """\
import os, sys

print("benchmarks", sys.argv[1:], os.getcwd())
sys.exit(4)
"""
LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-bench.lock"]


def make_clone(folder: Path) -> Path:
    """A clone with the real `run`, nothing to install, and a command that tells what it got."""
    package = folder / "timer_service"
    package.mkdir(parents=True)
    (package / "cli.py").write_text(CLI)
    benchmarks = folder / "benchmarks"
    benchmarks.mkdir()
    (benchmarks / "__main__.py").write_text(BENCH)
    (folder / "requirements-dev.lock").write_text("# nothing\n")
    (folder / "requirements-bench.lock").write_text("# nothing\n")
    shutil.copy(RUN, folder / "run")
    return folder


def run(clone: Path, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(clone / "run"), *words],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip


def load(clone: Path) -> ModuleType:
    """The bootstrap as a module, to ask it single questions."""
    loader = importlib.machinery.SourceFileLoader("bootstrap", str(clone / "run"))
    spec = importlib.util.spec_from_loader("bootstrap", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose environment a first start has made; its path holds a space on purpose."""
    clone = make_clone(tmp_path_factory.mktemp("with space") / "clone")
    first = run(clone, "up", "--port", "1")
    assert first.returncode == 3, first.stdout + first.stderr
    assert "run: Making the Python environment in .venv (once, about a minute)" in first.stdout
    assert "run: The environment is ready.\ntimer-service ['up', '--port', '1']" in first.stdout
    return clone


@pytest.fixture
def bootstrap(tmp_path: Path) -> ModuleType:
    return load(make_clone(tmp_path / "clone"))


class TestTheFile:
    def test_it_imports_the_standard_library_only(self) -> None:
        tree = ast.parse(RUN.read_text())
        names = {
            name.partition(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert names <= sys.stdlib_module_names

    def test_an_older_python_can_read_it_and_be_told(self) -> None:
        tree = ast.parse(RUN.read_text(), feature_version=(3, 7))
        definitions = [n.lineno for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        (check,) = [node.lineno for node in tree.body if isinstance(node, ast.If)][:1]
        assert check < min(definitions)

    def test_it_can_be_executed(self) -> None:
        assert os.access(RUN, os.X_OK)
        assert os.access(ROOT / ".ci" / "run", os.X_OK)


class TestTheLocks:
    @pytest.mark.parametrize("name", LOCKS)
    def test_no_address_and_no_path_is_in_it(self, name: str) -> None:
        text = (ROOT / name).read_text()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert "://" not in text
        assert not re.search(r"(^|\s)(/|\.\./|~/)", text)
        assert all(re.match(r"[a-z0-9]|    --hash=sha256:[0-9a-f]{64}", line) for line in lines)

    @pytest.mark.parametrize("name", LOCKS)
    def test_every_requirement_has_a_hash(self, name: str) -> None:
        lines = (ROOT / name).read_text().splitlines()
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            if re.match(r"[a-z0-9]", line):
                assert following.startswith("    --hash=sha256:"), line

    def test_they_pin_what_pyproject_asks_for(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        runtime = [
            *project["project"]["dependencies"],
            *project["project"]["optional-dependencies"]["embedded"],
        ]
        dev = project["dependency-groups"]["dev"]
        assert pinned(runtime) <= locked("requirements.lock")
        assert pinned(runtime) | pinned(dev) <= locked("requirements-dev.lock")
        assert locked("requirements.lock") <= locked("requirements-dev.lock")
        assert pinned(project["dependency-groups"]["bench"]) <= locked("requirements-bench.lock")

    def test_the_benchmarks_change_no_version_of_the_service(self) -> None:
        versions = versions_of("requirements-dev.lock")
        for name, version in versions_of("requirements-bench.lock").items():
            assert versions.get(name, version) == version, name


def pinned(requirements: list[str]) -> set[str]:
    return {re.sub(r"\[.*?\]|\s*;.*", "", one).lower() for one in requirements}


def locked(name: str) -> set[str]:
    text = (ROOT / name).read_text()
    return set(re.findall(r"^([a-z0-9._-]+==\S+)", text, flags=re.MULTILINE))


def versions_of(name: str) -> dict[str, str]:
    """Packages that have one version everywhere, and it."""
    found: dict[str, set[str]] = {}
    for one in locked(name):
        package, _, version = one.partition("==")
        found.setdefault(package, set()).add(version)
    return {package: next(iter(each)) for package, each in found.items() if len(each) == 1}


class TestHelp:
    @pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
    def test_it_needs_no_environment(self, bootstrap: ModuleType, words: list[str]) -> None:
        done = run(bootstrap.ROOT, *words)
        assert done.returncode == 0
        assert done.stdout == bootstrap.HELP
        assert not bootstrap.VENV.exists()


class TestStarts:
    def test_a_second_start_hands_over_at_once_from_wherever_it_is_called(
        self, made: Path, tmp_path: Path
    ) -> None:
        began_s = time.monotonic()
        second = run(made, "replay", "chat export.txt", cwd=tmp_path)
        assert time.monotonic() - began_s < 1
        assert second.returncode == 3
        where = made / "timer_service" / "cli.py"
        assert second.stdout == (
            f"timer-service ['replay', 'chat export.txt'] {tmp_path} {where}\n"
        )

    def test_anothers_pythonpath_does_not_get_in_the_way(
        self, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_clone(tmp_path / "other")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "other"))
        assert str(made / "timer_service" / "cli.py") in run(made, "x").stdout

    def test_the_command_itself_works(self, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
        command = made / ".venv" / "bin" / "timer-service"
        done = subprocess.run([command, "x"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.split("]")[0]) == (3, "timer-service ['x'")

    def test_changed_dependencies_update_the_environment(self, made: Path) -> None:
        kept = made / ".venv" / "kept"
        kept.touch()
        (made / "requirements-dev.lock").write_text("# still nothing\n")
        done = run(made, "x")
        assert "run: The dependencies changed: updating" in done.stdout
        assert done.returncode == 3
        assert kept.exists()
        assert "run:" not in run(made, "x").stdout

    def test_what_pip_says_is_shown_and_the_next_start_makes_all_again(self, made: Path) -> None:
        lock = made / "requirements-dev.lock"
        good = lock.read_text()
        lock.write_text("-r missing.txt\n")
        failed = run(made, "x")
        assert failed.returncode == 1
        assert "Could not open requirements file" in failed.stdout
        lock.write_text(good)
        leftover = made / ".venv" / "leftover"
        leftover.touch()
        again = run(made, "x")
        assert "run: Making the Python environment in .venv again: it is incomplete" in again.stdout
        assert again.returncode == 3
        assert not leftover.exists()

    def test_two_first_starts_at_once_make_one_environment(self, tmp_path: Path) -> None:
        clone = make_clone(tmp_path / "clone")
        both = [
            subprocess.Popen(
                [sys.executable, str(clone / "run"), "up"], stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        said = [one.communicate(timeout=90)[0] for one in both]
        assert [one.returncode for one in both] == [3, 3]
        assert "".join(said).count("Making the Python environment") == 1
        assert "".join(said).count("waiting for it") == 1
        assert "updating" not in "".join(said)


class TestBench:
    def test_it_adds_its_packages_once_and_runs_from_the_root(
        self, made: Path, tmp_path: Path
    ) -> None:
        load(made).BENCH_STAMP.unlink(missing_ok=True)
        first = run(made, "bench", "peers", "--live", "5", cwd=tmp_path)
        assert "run: Adding what the benchmarks need to .venv (once)" in first.stdout
        assert first.returncode == 4, first.stdout + first.stderr
        began_s = time.monotonic()
        second = run(made, "bench", "peers", "--live", "5", cwd=tmp_path)
        assert time.monotonic() - began_s < 1
        assert second.stdout == f"benchmarks ['peers', '--live', '5'] {made}\n"

    def test_alone_it_lists_the_benchmarks(self, made: Path) -> None:
        assert "benchmarks ['--help']" in run(made, "bench").stdout

    def test_its_packages_concern_nobody_else(self, made: Path) -> None:
        run(made, "bench")
        lock = made / "requirements-bench.lock"
        good = lock.read_text()
        lock.write_text("-r missing.txt\n")
        other = run(made, "x")
        assert (other.returncode, "run:" in other.stdout) == (3, False)
        failed = run(made, "bench")
        assert failed.returncode == 1
        assert "Could not open requirements file" in failed.stdout
        assert run(made, "x").returncode == 3
        lock.write_text(good)
        assert run(made, "bench").returncode == 4


class TestWhetherItIsReady:
    def test_a_copied_or_moved_environment_is_noticed(self, made: Path, tmp_path: Path) -> None:
        module = load(Path(shutil.copytree(made, tmp_path / "moved", symlinks=True)))
        assert not module.is_ready()
        assert not module.is_sound()

    @pytest.mark.parametrize("damage", ["stamp gone", "stamp torn", "python gone", "command gone"])
    def test_damage_is_noticed(
        self, made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str
    ) -> None:
        module = load(made)
        assert module.is_ready()
        gone = tmp_path / "gone"
        if damage == "stamp torn":
            gone.write_text('{"root": "')
        name = {"python gone": "PYTHON", "command gone": "COMMAND"}.get(damage, "STAMP")
        monkeypatch.setattr(module, name, gone)
        assert not module.is_ready()
        assert module.is_sound() is (damage == "command gone")


class TestWaysToMakeIt:
    @pytest.fixture
    def bare(self, bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        """As Debian's python3 is: no ensurepip, nothing on PATH, nobody special."""
        found = importlib.util.find_spec
        monkeypatch.setattr(
            bootstrap.importlib.util,
            "find_spec",
            lambda name: None if name in {"ensurepip", "virtualenv"} else found(name),
        )
        monkeypatch.setattr(bootstrap.shutil, "which", lambda _: None)
        monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000)
        return bootstrap

    @pytest.fixture
    def commands(self, bare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        told: list[list[str]] = []
        monkeypatch.setattr(bare, "output_of_failure", told.append)
        return told

    def offer(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setattr(
            module.shutil, "which", lambda asked: f"/bin/{name}" if asked == name else None
        )

    def test_without_any_the_missing_package_is_named(self, bare: ModuleType) -> None:
        with pytest.raises(bare.CannotStart, match=r"python3[.\d]*-venv .*uv, or virtualenv"):
            bare.make_environment()

    def test_uv_is_taken_where_ensurepip_is_missing(
        self, bare: ModuleType, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.offer(bare, monkeypatch, "uv")
        bare.make_environment()
        bare.install_packages(bare.LOCK)
        assert commands[0][:2] == ["/bin/uv", "venv"]
        assert commands[1][:5] == ["/bin/uv", "pip", "install", "--python", str(bare.PYTHON)]
        for words in (["--require-hashes"], ["--no-deps"], ["--only-binary", ":all:"]):
            assert set(words) <= set(commands[1])

    def test_virtualenv_is_taken_where_ensurepip_is_missing(
        self, bare: ModuleType, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.offer(bare, monkeypatch, "virtualenv")
        bare.make_environment()
        assert commands == [
            ["/bin/virtualenv", "--quiet", "--python", sys.executable, str(bare.VENV)]
        ]

    def test_root_installs_debians_package_and_goes_on(
        self, bare: ModuleType, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.offer(bare, monkeypatch, "apt-get")
        monkeypatch.setattr(bare.os, "geteuid", lambda: 0)
        monkeypatch.setattr(bare.sys, "base_prefix", "/usr")
        ways = iter([None, ["made by ensurepip"]])
        monkeypatch.setattr(bare, "by_ensurepip", lambda: next(ways))
        bare.make_environment()
        package = bare.venv_package()
        assert commands == [
            ["/bin/apt-get", "update"],
            ["/bin/apt-get", "install", "-y", "--no-install-recommends", package],
            ["made by ensurepip"],
        ]

    def test_a_python_that_is_not_debians_is_not_helped_by_apt(
        self, bare: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.offer(bare, monkeypatch, "apt-get")
        monkeypatch.setattr(bare.os, "geteuid", lambda: 0)
        monkeypatch.setattr(bare.sys, "base_prefix", "/opt/python")
        assert bare.by_debian() is None

    def test_what_apt_says_is_shown_when_it_fails(
        self, bare: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.offer(bare, monkeypatch, "apt-get")
        monkeypatch.setattr(bare.os, "geteuid", lambda: 0)
        monkeypatch.setattr(bare.sys, "base_prefix", "/usr")
        monkeypatch.setattr(bare, "output_of_failure", lambda _: "no network")
        with pytest.raises(bare.CannotStart, match="apt-get update failed:\nno network"):
            bare.by_debian()

    def test_windows_is_told_plainly(
        self, bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(bootstrap.os, "name", "nt")
            try:
                bootstrap.ensure_environment()
            except bootstrap.CannotStart as problem:
                told = str(problem)
        assert "WSL" in told

    def test_pips_own_variables_hold_for_uv_unless_uv_was_told(
        self, bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PIP_FIND_LINKS", "pip's")
        monkeypatch.setenv("PIP_CERT", "pip's")
        monkeypatch.setenv("SSL_CERT_FILE", "the user's")
        monkeypatch.delenv("UV_FIND_LINKS", raising=False)
        script = "import os; print(os.environ['UV_FIND_LINKS'], os.environ['SSL_CERT_FILE']); 1/0"
        said = bootstrap.output_of_failure([sys.executable, "-c", script])
        assert said.startswith("pip's the user's\n")


class TestItsOwnWords:
    @pytest.fixture
    def calls(self, bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        told: list[list[str]] = []
        monkeypatch.setattr(bootstrap, "ensure_environment", lambda: None)
        monkeypatch.setattr(bootstrap, "ensure_bench_packages", lambda: None)
        monkeypatch.setattr(bootstrap, "call", lambda argv: told.append(argv[1:]) or 0)
        return told

    def test_test_leaves_out_what_is_slow(
        self, bootstrap: ModuleType, calls: list[list[str]]
    ) -> None:
        assert bootstrap.main(["test", "-k", "word"]) == 0
        assert calls == [["-m", "pytest", "-m", "not slow", "-k", "word"]]

    def test_all_is_run_by_two_processes_and_faults_by_one_afterwards(
        self, bootstrap: ModuleType, calls: list[list[str]]
    ) -> None:
        assert bootstrap.main(["test", "--durations=60"]) == 0
        in_two = ["-n", "2", "--no-loadscope-reorder", "--ignore=tests/faults"]
        assert calls == [
            ["-m", "pytest", *turn, "-m", "not slow", "--durations=60"]
            for turn in (in_two, ["tests/faults"])
        ]

    @pytest.mark.parametrize("turn", ["--ignore=tests/faults", "tests/faults"])
    def test_it_fails_where_either_turn_does(
        self, bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, turn: str
    ) -> None:
        monkeypatch.setattr(bootstrap, "ensure_environment", lambda: None)
        monkeypatch.setattr(bootstrap, "call", lambda argv: int(turn in argv))
        assert bootstrap.main(["test"]) == 1

    def test_what_is_slow_is_run_by_one_process(
        self, bootstrap: ModuleType, calls: list[list[str]]
    ) -> None:
        assert bootstrap.main(["test", "--slow"]) == 0
        assert calls == [["-m", "pytest"]]

    def test_test_slow_leaves_out_nothing(
        self, bootstrap: ModuleType, calls: list[list[str]]
    ) -> None:
        assert bootstrap.main(["test", "tests/unit", "--slow"]) == 0
        assert calls == [["-m", "pytest", "tests/unit"]]

    def test_check_is_lint_and_test(self, bootstrap: ModuleType, calls: list[list[str]]) -> None:
        assert bootstrap.main(["check"]) == 0
        assert [" ".join(call[:3]) for call in calls[:-2]] == [
            "-m ruff check",
            "-m ruff format",
            "-m mypy",
            str(bootstrap.VENV / "bin" / "lint-imports"),
        ]
        assert [call[:2] for call in calls[-2:]] == [["-m", "pytest"]] * 2

    @pytest.mark.parametrize("failing", ["mypy", "check", "pytest"])
    def test_one_failure_fails_the_check_but_the_rest_still_runs(
        self, bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, failing: str
    ) -> None:
        told: list[list[str]] = []

        def call(argv: list[str]) -> int:
            told.append(argv)
            return 2 if failing in argv else 0

        monkeypatch.setattr(bootstrap, "ensure_environment", lambda: None)
        monkeypatch.setattr(bootstrap, "call", call)
        assert bootstrap.main(["check"]) == 1
        assert len(told) == 6

    def test_lint_names_what_failed(
        self,
        bootstrap: ModuleType,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(bootstrap, "call", lambda argv: "mypy" in argv)
        assert bootstrap.lint() == 1
        assert capsys.readouterr().out == "run: failed: mypy\n"
