"""The `crio` program from its command line to its output."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import crio
from crio.cli.crio import main
from crio.config import parse
from crio.config.printer import print_config

pytestmark = pytest.mark.usefixtures("nowhere")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of this machine."""
    (tmp_path / "storage.conf").write_text("")
    (tmp_path / "crio.conf").write_text("")
    for name in list(os.environ):
        if name.startswith("CONTAINER"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    monkeypatch.setenv("CONTAINER_CONFIG", str(tmp_path / "crio.conf"))
    monkeypatch.setenv("CONTAINER_CONFIG_DIR", str(tmp_path / "crio.conf.d"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("arguments", [["--version"], ["-v"], ["version"], ["--log-level", "debug", "--version"]])
def test_the_first_line_is_the_version(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert out.splitlines()[0] == f"crio version {crio.__version__}"
    assert re.search(r"^Platform: +linux/\w+$", out, re.MULTILINE)


def test_version_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "version", "-j", "--verbose")
    facts = json.loads(out)
    assert facts["version"] == crio.__version__
    assert isinstance(facts["seccompEnabled"], bool)
    assert any(line.startswith("msgspec ") for line in facts["dependencies"])


def test_the_version_needs_few_modules() -> None:
    code = "import sys; from crio.cli.crio import main; main(['--version']); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"asyncio", "msgspec", "argparse", "json", "logging", "typing", "dataclasses", "ssl"}


def test_config_prints_what_minikube_greps(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--cgroup-manager=cgroupfs", "config")
    assert (code, err) == (0, "")
    assert 'cgroup_manager = "cgroupfs"' in out.splitlines()
    assert tomllib.loads(out)["crio"]["runtime"]["cgroup_manager"] == "cgroupfs"


def test_a_level_may_have_capitals(capsys: pytest.CaptureFixture[str]) -> None:
    assert '\nlog_level = "debug"\n' in run(capsys, "--log-level", "DEBUG", "config")[1]


def test_config_default_ignores_flags_and_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "crio.conf").write_text('[crio.image]\npause_image = "x"\n')
    _, out, _ = run(capsys, "--pause-command=/x", "config", "--default")
    assert out == print_config(parse("", ""), parse("", ""))


def test_config_puts_warnings_on_standard_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "crio.conf").write_text("[crio]\nx = 1\n")
    code, out, err = run(capsys, "config")
    assert (code, "x = 1" in out) == (0, False)
    assert err == f"crio: warning: {tmp_path}/crio.conf:2: unknown key x in [crio]\n"


def test_check_tells_all_and_fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "new.conf"
    path.write_text("[crio]\nlog_dirr = 1\n[crio.runtime]\nctr_stop_timeout = true\nconmon = '/x'\n")
    code, out, _ = run(capsys, "config", "check", str(path))
    assert code == 1
    assert out.splitlines() == [
        f"error:   {path}:4: ctr_stop_timeout must be a whole number, but is true",
        f"warning: {path}:2: unknown key log_dirr in [crio]; the nearest known key is log_dir",
        f"warning: {path}:5: conmon is deprecated; use monitor_path of the runtime handler",
    ]


def test_check_is_content_with_good_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "new.conf"
    path.write_text(
        '[crio.runtime]\ndefault_runtime = "mine"\npinns_path = "/bin/pinns"\n'
        '[crio.runtime.runtimes.mine]\nruntime_path = "/bin/sh"\n'
    )
    code, out, _ = run(capsys, "config", "check", str(path))
    assert code == 0
    assert out.startswith("note:    pinns_path has no effect: namespaces are kept by this daemon itself\n")
    assert out.endswith(f"{path}: the daemon can start with this configuration\n")


def test_explain_tells_value_and_origin(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "crio.conf").write_text('\n[crio.runtime]\nlog_level = "debug"\n')
    _, out, _ = run(capsys, "config", "explain", "log_level", "crio.api.listen")
    assert f'Value:    "debug" (from {tmp_path}/crio.conf:3)' in out.splitlines()
    assert 'Value:    "/var/run/crio/crio.sock" (the default)' in out.splitlines()
    code, _, err = run(capsys, "config", "explain", "log_levell")
    assert (code, err) == (1, 'crio: there is no key "log_levell"; the nearest is log_level\n')


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["confg"], 2, 'crio: unknown command or argument "confg"; the nearest is config\nSee `crio --help`.\n'),
        (["--lisen", "x"], 2, "crio: unknown flag --lisen; the nearest is --listen\nSee `crio --help`.\n"),
        (["--listen"], 2, "crio: --listen needs a value: string\nSee `crio --help`.\n"),
        (["--selinux=maybe"], 2, 'crio: --selinux must be true or false, but is "maybe"\nSee `crio --help`.\n'),
        (["config", "x"], 2, 'crio config: unknown command or argument "x"\nSee `crio config --help`.\n'),
        (["status"], 2, "crio status: name a command: config, containers, info, goroutines, heap\n"),
        (["config", "explain"], 2, "crio config explain: name a key, such as log_level\n"),
        (["completion", "tcsh"], 2, "crio completion: name one shell of bash, fish, zsh\n"),
        (
            ["--config", "/nowhere.conf", "config"],
            1,
            "crio: cannot use the configuration: /nowhere.conf: cannot be read",
        ),
        (["status", "-s", "/nowhere.sock", "info"], 1, "crio: cannot reach the daemon at /nowhere.sock: No such file"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str) -> None:
    got, out, err = run(capsys, *arguments)
    assert (got, out) == (code, "")
    assert err.startswith(message)


def test_help_lists_every_command_and_flag(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in ("config", "check", "completion, complete", "markdown, md", "status", "version", "wipe"):
        assert re.search(rf"^  {name} ", out, re.MULTILINE)
    for flag in ("-c, --config FILE", "-l, --log-level STRING", "-s, --storage-driver STRING", "--storage-opt LIST"):
        assert re.search(rf"^  {flag}$", out, re.MULTILINE)
    assert len(re.findall(r"^  (?:-\w+, )*--", out, re.MULTILINE)) >= 128
    _, by_command, _ = run(capsys, "help", "status", "heap")
    _, by_flag, _ = run(capsys, "status", "heap", "-h")
    assert by_command == by_flag


def test_what_a_shim_publishes_is_taken_and_shown_to_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--address", "/run/s.sock", "publish", "--topic", "/tasks/exit", "--namespace", "default")
    assert run(capsys, *arguments) == (0, "", "")
    for page in (("--help",), ("completion", "bash"), ("completion", "zsh"), ("completion", "fish"), ("md",)):
        assert "publish" not in run(capsys, *page)[1], page


def test_the_reference_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).parents[3] / "docs" / "configuration.md"
    assert run(capsys, "markdown", "crio.conf")[1] == path.read_text()


@pytest.mark.parametrize("page", ["crio", "crio.conf", "crio.conf.d", "crioctl"])
def test_manuals(capsys: pytest.CaptureFixture[str], page: str) -> None:
    _, markdown, _ = run(capsys, "md", page)
    assert markdown.startswith(f"# {page}(")
    _, roff, _ = run(capsys, "man", page)
    assert roff.startswith(f'.TH "{page.upper()}"')
    if shutil.which("groff") is None:
        pytest.skip("no groff on this machine")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-P-c"], input=roff, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "warning" not in done.stderr.replace("warning [p", "").replace("cannot adjust line", "")


def test_bash_completion_works_in_bash(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, script, _ = run(capsys, "completion", "bash")
    path = tmp_path / "crio.bash"
    path.write_text(script)

    def complete(*words: str) -> set[str]:
        quoted = " ".join(f"'{word}'" for word in ("crio", *words))
        shell = f"source {path}; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _crio; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    assert complete("sta") == {"status"}
    assert complete("he") == {"help"}
    assert complete("s", "x") == set()
    assert {"info", "heap", "--socket"} <= complete("status", "")
    assert complete("config", "e") == {"explain"}
    assert complete("--image-volumes", "") == {"mkdir", "bind", "ignore"}
    assert complete("man", "crio.conf.") == {"crio.conf.d"}
    assert complete("--metrics-c") == {"--metrics-cert", "--metrics-collectors"}


@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_other_completions_name_every_command(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    _, script, _ = run(capsys, "complete", shell)
    for word in ("goroutines", "explain", "image-volumes", "mkdir bind ignore"):
        assert word in script


class _Inspect(http.server.BaseHTTPRequestHandler):
    """Answers as the daemon's inspect endpoints do."""

    answers: dict[str, bytes]

    def do_GET(self) -> None:
        body = self.answers.get(self.path)
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(body if body is not None else b"cannot find container abc")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests have no log."""


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[object, tuple[str, int]]:  # type: ignore[override]
        connection, _ = self.socket.accept()
        return connection, ("local", 0)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[str]:
    """The socket of something that answers like a daemon with log level debug."""
    config = parse('[crio.runtime]\nlog_level = "debug"\n[crio]\nlog_dir = "/a"\n', "x")
    container = {
        "name": "web",
        "pid": 42,
        "image": "busybox",
        "created_time": 1_500_000_000_000_000_000,
        "labels": {"b": "2", "a": "1"},
        "ip_addresses": ["10.0.0.1", "fd00::1"],
    }
    _Inspect.answers = {
        "/config": print_config(config, config, all_written=True, comments=False).encode(),
        "/info": json.dumps(
            {
                "cgroup_driver": "systemd",
                "storage_driver": "overlay",
                "storage_root": "/r",
                "default_id_mappings": {"uids": [{"container_id": 0, "host_id": 1, "size": 2}]},
            }
        ).encode(),
        "/containers/c0ffee": json.dumps(container).encode(),
        "/debug/goroutines": b"task 1\n",
        "/debug/heap": b"many bytes",
    }
    path = str(tmp_path / "crio.sock")
    with _UnixServer(path, _Inspect) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def test_status_info(capsys: pytest.CaptureFixture[str], daemon: str) -> None:
    assert run(capsys, "status", "--socket", daemon, "i")[1].splitlines() == [
        "cgroup driver: systemd",
        "storage driver: overlay",
        "storage graph root: /r",
        "storage image: ",
        "default GID mappings (format <container>:<host>:<size>):",
        "default UID mappings (format <container>:<host>:<size>):",
        "  0:1:2",
    ]


def test_status_of_a_container(capsys: pytest.CaptureFixture[str], daemon: str) -> None:
    code, out, _ = run(capsys, "status", f"-s={daemon}", "cs", "-i", "c0ffee")
    assert code == 0
    assert out.splitlines()[:9] == [
        "name: web",
        "pid: 42",
        "image: busybox",
        "image ref: ",
        "created: 2017-07-14T02:40:00+00:00",
        "labels:",
        "  a: 1",
        "  b: 2",
        "annotations:",
    ]
    assert out.splitlines()[-1] == "ips: 10.0.0.1, fd00::1"
    code, _, err = run(capsys, "--listen", daemon, "status", "s", "--id=abc")
    assert (code, err) == (1, "crio: cannot get /containers/abc from the daemon: cannot find container abc\n")
    assert run(capsys, "--listen", daemon, "status", "s", "--id=../x")[0] == 2


def test_status_dumps(capsys: pytest.CaptureFixture[str], daemon: str, tmp_path: Path) -> None:
    assert run(capsys, "status", "-s", daemon, "goroutines")[1] == "task 1\n"
    path = tmp_path / "heap.out"
    assert run(capsys, "status", "-s", daemon, "heap", "-f", str(path))[1] == f"Wrote heap dump to: {path}\n"
    assert path.read_bytes() == b"many bytes"


def test_diff_against_the_running_daemon(capsys: pytest.CaptureFixture[str], daemon: str, tmp_path: Path) -> None:
    runtime = tmp_path / "crun"
    runtime.write_text("")
    crun = f'[crio.runtime.runtimes.crun]\nruntime_path = "{runtime}"\n'
    (tmp_path / "crio.conf").write_text(f'{crun}[crio.image]\npinned_images = ["x"]\n[crio.api]\nstream_port = "1"\n')
    code, out, _ = run(capsys, "config", "diff", "-s", daemon)
    assert code == 1
    lines = out.splitlines()
    assert 'crio.log_dir: "/a" -> "/var/log/crio/pods"' in lines
    assert 'crio.api.stream_port: "0" -> "1"   (needs a restart)' in lines
    assert 'crio.runtime.log_level: "debug" -> "info"' in lines
    assert 'crio.image.pinned_images: [] -> ["x"]' in lines
