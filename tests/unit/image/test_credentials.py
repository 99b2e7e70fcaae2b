from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.image import credential_helper, credentials
from crio.image.credentials import Credentials, CredentialSources, find
from crio.wire import reference
from crio.wire.reference import Reference

NOWHERE = CredentialSources()


def auth(user: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:secret:{user}".encode()).decode()}


def write(path: Path, document: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return str(path)


def no_helper(name: str, host: str) -> Credentials | None:
    raise AssertionError(f"helper {name} was asked for {host}")


def user_of(
    image: str,
    environ: dict[str, str],
    sources: CredentialSources = NOWHERE,
    *,
    requested: Credentials | None = None,
    namespace: str = "",
    place: str = "",
) -> str:
    name = reference.parse(image)
    lookup = find(image, name, requested, namespace, sources, helper=no_helper, environ=environ)
    found = lookup(reference.parse(place) if place else name)
    return found.username if found else ""


def test_request() -> None:
    assert not Credentials()
    assert Credentials("u", "p").plain() == Credentials("u", "p")
    assert Credentials(auth=base64.b64encode(b"u:p:q").decode()).plain() == Credentials("u", "p:q")
    assert Credentials("u", "p", auth="ignored").plain() == Credentials("u", "p")
    for bad in ("!!", base64.b64encode(b"nocolon").decode(), base64.b64encode(b"\xff:x").decode()):
        with pytest.raises(InvalidArgument):
            Credentials(auth=bad).plain()


def test_secrets_are_not_shown() -> None:
    assert "p4ss" not in repr(Credentials("user", "p4ss")) + str(Credentials("", "", "p4ss"))
    assert Credentials("a", "b").fingerprint != Credentials("a", "c").fingerprint
    assert b"p4ss" not in Credentials("a", "p4ss").fingerprint


def test_longest_match_wins(tmp_path: Path) -> None:
    file = write(
        tmp_path / "auth.json",
        {
            "auths": {
                "example.com": auth("host"),
                "example.com/team": auth("team"),
                "example.com/team/app": auth("app"),
                "https://index.docker.io/v1/": auth("hub"),
                "http://other.com:5000/v2/": auth("other"),
                "empty.com": {},
                "split.com": {"username": "split", "password": "x"},
            }
        },
    )
    environ = {"REGISTRY_AUTH_FILE": file}
    assert user_of("example.com/team/app:1", environ) == "app"
    assert user_of("example.com/team/other", environ) == "team"
    assert user_of("example.com/teams/app", environ) == "host"
    assert user_of("example.com:5000/team/app", environ) == ""
    assert user_of("busybox", environ) == "hub"
    assert user_of("other.com:5000/a", environ) == "other"
    assert user_of("empty.com/a", environ) == ""
    assert user_of("split.com/a", environ) == "split"


def test_order_of_places(tmp_path: Path) -> None:
    image = "example.com/a:1"
    home = tmp_path / "home"
    environ = {"HOME": str(home), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    assert user_of(image, environ) == ""
    write(home / ".dockercfg", {"example.com": auth("dockercfg")})
    assert user_of(image, environ) == "dockercfg"
    write(home / ".docker/config.json", {"auths": {"example.com": auth("docker")}})
    assert user_of(image, environ) == "docker"
    write(home / ".config/containers/auth.json", {"auths": {"example.com": auth("config")}})
    assert user_of(image, environ) == "config"
    write(tmp_path / "run/containers/auth.json", {"auths": {"example.com": auth("run")}})
    assert user_of(image, environ) == "run"
    file = write(tmp_path / "global.json", {"auths": {"example.com": auth("global")}})
    pause = write(tmp_path / "pause.json", {"auths": {"example.com": auth("pause")}})
    spaces = tmp_path / "spaces"
    sources = CredentialSources(str(spaces), image, pause, file)
    assert user_of("example.com/b", environ, sources) == "global"
    assert user_of(image, environ, sources) == "pause"
    one_use = spaces / f"ns-{hashlib.sha256(image.encode()).hexdigest()}.json"
    write(one_use, {"auths": {"example.com": auth("namespace")}})
    assert user_of(image, environ, sources, namespace="other") == "pause"
    assert user_of(image, environ, sources, requested=Credentials("request"), namespace="ns") == "request"
    assert one_use.exists()
    assert user_of(image, environ, sources, namespace="ns") == "namespace"
    assert list(spaces.iterdir()) == []
    assert user_of(image, environ, sources, namespace="ns") == "pause"


def test_mirrors_on_other_hosts_get_only_their_own(tmp_path: Path) -> None:
    file = write(tmp_path / "auth.json", {"auths": {"mirror.com": auth("mirror")}})
    environ = {"REGISTRY_AUTH_FILE": file}
    mine = Credentials("mine", "x")
    assert user_of("example.com/a", environ, requested=mine, place="mirror.com/a") == "mirror"
    assert user_of("example.com/a", environ, requested=mine, place="unknown.com/a") == ""
    assert user_of("example.com/a", environ, requested=mine, place="example.com:5000/a") == ""
    assert user_of("example.com/a", environ, requested=mine, place="example.com/mirror/a") == "mine"


def test_broken_files(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"auths": "hunter2"}')
    assert user_of("example.com/a", {"REGISTRY_AUTH_FILE": str(broken)}) == ""
    with pytest.raises(InvalidArgument, match=r"broken\.json") as caught:
        user_of("example.com/a", {}, CredentialSources(global_auth_file=str(broken)))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InvalidArgument, match="namespace"):
        user_of("example.com/a", {}, CredentialSources(str(tmp_path)), namespace="../x")


def test_helper_programs(tmp_path: Path) -> None:
    program = tmp_path / "docker-credential-mine"
    program.write_text(
        "#!/bin/sh\nread host\ncase $1-$host in\n"
        'get-a.com) echo \'{"ServerURL":"a.com","Username":"helped","Secret":"s"}\';;\n'
        'get-t.com) echo \'{"Username":"<token>","Secret":"idt"}\';;\n'
        "get-bad.com) echo oops;;\n"
        "get-fail.com) echo broken >&2; exit 2;;\n"
        "*) echo credentials not found in native keychain; exit 1;;\nesac\n"
    )
    program.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    def ask(name: str, host: str) -> Credentials | None:
        return credential_helper.ask_helper(name, host, environ)

    def lookup(place: str, document: object, helpers: tuple[str, ...] = ()) -> Credentials | None:
        where = {"REGISTRY_AUTH_FILE": write(tmp_path / "auth.json", document)}
        name: Reference = reference.parse(place)
        sources = CredentialSources()
        return find(
            place, name, None, "", sources, helper=ask, credential_helpers=helpers, environ={**environ, **where}
        )(name)

    by_host = {"credHelpers": {"a.com": "mine", "bad.com": "mine", "fail.com": "mine", "odd.com": "../x"}}
    assert lookup("a.com/x", by_host) == Credentials("helped", "s")
    assert lookup("b.com/x", by_host) is None
    assert lookup("bad.com/x", by_host) is None
    assert lookup("fail.com/x", by_host) is None
    assert lookup("odd.com/x", by_host) is None
    assert lookup("t.com/x", {"credsStore": "mine"}) == Credentials(identity_token="idt")
    assert lookup("none.com/x", {"credsStore": "mine", "auths": {"none.com": auth("u")}}) == Credentials(
        "u", "secret:u"
    )
    assert lookup("a.com/x", {}, ("missing", "mine")) == Credentials("helped", "s")
    assert lookup("a.com/x", {"auths": {"a.com": auth("u")}}, ("containers-auth.json", "mine")) == Credentials(
        "u", "secret:u"
    )


def test_helper_answer() -> None:
    assert credentials.parse_helper_answer(b'{"Username":"u","Secret":""}') is None
    with pytest.raises(InvalidArgument):
        credentials.parse_helper_answer(b"[]")
