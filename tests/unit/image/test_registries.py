from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.base.errors import CrioError, FailedPrecondition, InvalidArgument, PermissionDenied
from crio.image.registries import Endpoint, Registries, load, merge, parse
from crio.wire import reference

SHA = "sha256:" + "a" * 64


def registries(*texts: str) -> Registries:
    return merge(parse(text, f"file{number}.conf") for number, text in enumerate(texts))


def places(config: Registries, name: str) -> list[str]:
    return [str(endpoint.reference) for endpoint in config.endpoints(reference.parse(name))]


def test_nothing_configured() -> None:
    name = reference.parse("example.com/a:1")
    assert Registries().endpoints(name) == [Endpoint(name, insecure=False, mirror=False)]
    assert [str(n) for n in Registries().candidates("busybox")] == ["docker.io/library/busybox:latest"]


CONF = """
unqualified-search-registries = ["quay.io", "docker.io"]
short-name-mode = "enforcing"

[[registry]]
prefix = "example.com/team"
location = "internal.example.com/mirror/team"
insecure = true

[[registry.mirror]]
location = "m1.example.com:5000/x"
insecure = true

[[registry.mirror]]
location = "m2.example.com"
pull-from-mirror = "digest-only"

[[registry.mirror]]
location = "m3.example.com"
pull-from-mirror = "tag-only"

[[registry]]
location = "example.com"

[[registry]]
prefix = "*.wild.example.com"

[[registry.mirror]]
location = "cache.local:5000/wild"

[[registry]]
prefix = "special.wild.example.com"
location = "special.local"

[[registry]]
prefix = "bad.example.com"
blocked = true

[aliases]
"fedora" = "registry.fedoraproject.org/fedora"
"gone" = ""
"""


def test_locations_and_mirrors() -> None:
    config = registries(CONF)
    assert places(config, "example.com/team/app:1") == [
        "m1.example.com:5000/x/app:1",
        "m3.example.com/app:1",
        "internal.example.com/mirror/team/app:1",
    ]
    assert places(config, f"example.com/team/app@{SHA}") == [
        f"m1.example.com:5000/x/app@{SHA}",
        f"m2.example.com/app@{SHA}",
        f"internal.example.com/mirror/team/app@{SHA}",
    ]
    assert places(config, "example.com/teamwork/app:1") == ["example.com/teamwork/app:1"]
    assert places(config, "example.com:5000/team/app:1") == ["example.com:5000/team/app:1"]
    flags = [(e.insecure, e.mirror) for e in config.endpoints(reference.parse("example.com/team/app:1"))]
    assert flags == [(True, True), (False, True), (True, False)]


def test_wildcards() -> None:
    config = registries(CONF)
    assert places(config, "a.wild.example.com/x/y:1") == ["cache.local:5000/wild/x/y:1", "a.wild.example.com/x/y:1"]
    assert places(config, "a.b.wild.example.com/y:1")[0] == "cache.local:5000/wild/y:1"
    assert places(config, "special.wild.example.com/y:1") == ["special.local/y:1"]
    assert places(config, "wild.example.com/y:1") == ["wild.example.com/y:1"]


def test_blocked() -> None:
    with pytest.raises(PermissionDenied, match="bad\\.example\\.com is blocked"):
        registries(CONF).endpoints(reference.parse("bad.example.com/a:1"))


def test_prefix_may_name_a_tag() -> None:
    config = registries('[[registry]]\nprefix = "example.com/a:1"\nlocation = "other.com/b:2"')
    assert places(config, "example.com/a:1") == ["other.com/b:1"]
    assert places(config, "example.com/a:2") == ["example.com/a:2"]
    assert places(config, "example.com/a:11") == ["example.com/a:11"]


def test_docker_hub_by_its_normal_form() -> None:
    config = registries('[[registry]]\nprefix = "docker.io"\n[[registry.mirror]]\nlocation = "hub.local"\n')
    assert places(config, "busybox:1") == ["hub.local/library/busybox:1", "docker.io/library/busybox:1"]


def test_location_is_a_host_even_without_a_dot() -> None:
    config = registries('[[registry]]\nprefix = "example.com"\nlocation = "store"')
    assert places(config, "example.com/a:1") == ["store/a:1"]


def test_short_names() -> None:
    config = registries(CONF)
    assert [str(n) for n in config.candidates("fedora:40")] == ["registry.fedoraproject.org/fedora:40"]
    assert [str(n) for n in config.candidates("example.com/a")] == ["example.com/a:latest"]
    with pytest.raises(FailedPrecondition, match="quay\\.io, docker\\.io"):
        config.candidates("busybox")
    assert [str(n) for n in config.candidates("busybox:1", "disabled")] == [
        "quay.io/busybox:1",
        "docker.io/library/busybox:1",
    ]
    one = registries('unqualified-search-registries = ["quay.io"]')
    assert [str(n) for n in one.candidates(f"a/b@{SHA}")] == [f"quay.io/a/b@{SHA}"]
    with pytest.raises(FailedPrecondition, match="full name"):
        registries("unqualified-search-registries = []").candidates("busybox")
    assert [str(n) for n in config.local_candidates("busybox")] == [
        "localhost/busybox:latest",
        "quay.io/busybox:latest",
        "docker.io/library/busybox:latest",
    ]


def test_later_files_win() -> None:
    config = registries(
        CONF,
        'unqualified-search-registries = ["one.io"]\n[aliases]\nfedora = "x.io/f"\n'
        '[[registry]]\nlocation = "example.com"\nblocked = true\n',
    )
    assert config.search == ("one.io",)
    assert [str(n) for n in config.candidates("fedora")] == ["x.io/f:latest"]
    with pytest.raises(PermissionDenied):
        config.endpoints(reference.parse("example.com/a"))
    assert places(config, "example.com/team/a:1")[0] == "m1.example.com:5000/x/a:1"


@pytest.mark.parametrize(
    "text",
    [
        "x = ",
        "registry = 5",
        "[[registry]]\ninsecure = true",
        '[[registry]]\nprefix = "*.a.com/x"',
        '[[registry]]\nprefix = "a.*.com"',
        '[[registry]]\nlocation = "https://a.com"',
        '[[registry]]\nlocation = "a.com"\n[[registry.mirror]]\nlocation = ""',
        '[[registry]]\nlocation = "a.com"\n[[registry.mirror]]\nlocation = "b"\npull-from-mirror = "some"',
        '[[registry]]\nlocation = "a.com"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = "b"\n'
        'pull-from-mirror = "all"',
        "[registries.search]\nregistries = []",
    ],
)
def test_wrong_files_are_named(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"bad\.conf"):
        parse(text, "bad.conf")


def test_load(tmp_path: Path) -> None:
    main, directory = tmp_path / "registries.conf", tmp_path / "conf.d"
    environ = {"CONTAINERS_REGISTRIES_CONF": str(main), "CONTAINERS_REGISTRIES_CONF_DIR": str(directory)}
    assert load(environ) == Registries()
    main.write_text('unqualified-search-registries = ["a.io"]')
    directory.mkdir()
    (directory / "20-b.conf").write_text('unqualified-search-registries = ["b.io"]')
    (directory / "10-c.conf").write_text('unqualified-search-registries = ["c.io"]')
    (directory / "99-no.txt").write_text("not toml at all")
    assert load(environ).search == ("b.io",)
    chosen = tmp_path / "short-name-aliases.conf"
    assert load(environ, str(chosen)) == load(environ)
    main.write_text('[aliases]\n"tool" = "a.io/tool"\n"other" = "a.io/other"')
    chosen.write_text('unqualified-search-registries = ["ignored.io"]\n[aliases]\n"tool" = "b.io/tool"')
    found = load(environ, str(chosen))
    assert found.aliases == {"tool": "b.io/tool", "other": "a.io/other"}
    assert found.search == ("b.io",)
    main.write_bytes(b"\xff")
    with pytest.raises(InvalidArgument, match=r"registries\.conf"):
        load(environ)


@given(st.text(max_size=100))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text, "fuzz.conf")
    except CrioError:
        pass
