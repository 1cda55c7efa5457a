"""`keys`: creating, listing and removing API keys, and the messages of `serve`."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.serving.test_keys import DAMAGED

ANYWHERE = "0.0.0.0"  # noqa: S104


def keys_file(shop: Any) -> Path:
    place: Path = shop.folder / ".tastemaker" / "keys.json"
    return place


def test_there_are_no_keys_at_first(shop: Any, run: Any) -> None:
    done = run("keys")
    assert (done.code, done.out) == (0, "")
    assert "there are no keys" in done.err
    assert run("keys", "--json").json == {"keys": []}
    assert not keys_file(shop).exists()


def test_a_key_is_printed_once_and_without_other_text(shop: Any, run: Any) -> None:
    done = run("keys", "add", "shop")
    assert done.code == 0
    key = done.out.removesuffix("\n")
    assert key.startswith("tm_")
    assert "\n" not in key
    assert "not shown again" in done.err
    assert key not in done.err
    listed = run("keys")
    assert listed.out.split()[0] == "shop"
    assert key not in listed.out + listed.err + run("keys", "--json").out
    assert key not in keys_file(shop).read_text()


def test_key_commands_print_json(shop: Any, run: Any) -> None:
    added = run("keys", "add", "shop", "--json").json
    assert set(added) == {"name", "key"}
    assert added["name"] == "shop"
    (listed,) = run("keys", "--json").json["keys"]
    assert set(listed) == {"name", "made"}
    assert run("keys", "--json", "remove", "shop").json == {"removed": "shop", "left": 0}
    assert run("keys", "--json").json == {"keys": []}


def test_removing_the_last_key_reports_the_consequences(shop: Any, run: Any) -> None:
    run("keys", "add", "one")
    run("keys", "add", "two")
    done = run("keys", "remove", "one")
    assert (done.out, done.err) == ("removed one, 1 left\n", "")
    done = run("keys", "remove", "two")
    assert done.out == "removed two, 0 left\n"
    assert "on any other address, the server rejects all requests" in done.err


def test_a_user_error_is_one_line_with_exit_code_2(shop: Any, run: Any) -> None:
    run("keys", "add", "shop")
    assert "there is a key named 'shop'" in run("keys", "add", "shop").refused(2)
    assert "did you mean 'shop'" in run("keys", "remove", "shpo").refused(2)
    assert "letters, digits" in run("keys", "add", "my shop").refused(2)
    assert run("keys", "add").code == 2
    assert run("keys", "drop", "shop").code == 2
    assert len(run("keys", "--json").json["keys"]) == 1


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_key_file_is_one_line_with_exit_code_1(
    shop: Any, run: Any, content: bytes
) -> None:
    run("keys", "add", "shop")
    keys_file(shop).write_bytes(content)
    for verb in (["keys"], ["keys", "add", "other"], ["keys", "remove", "shop"]):
        assert "keys.json is damaged" in run(*verb).refused(1)
    assert keys_file(shop).read_bytes() == content


def test_serve_refuses_a_damaged_key_file(shop: Any, run: Any) -> None:
    run("train")
    keys_file(shop).write_text("{}")
    for host in ("127.0.0.1", ANYWHERE):
        assert "keys.json is damaged" in run("serve", "--host", host).refused(1)
    found = json.loads(run("doctor", "--json").out)["findings"]
    (port,) = [each for each in found if each["what"] == "port"]
    assert port["verdict"] == "bad"
    assert "keys.json is damaged" in port["message"]


def test_a_key_file_readable_by_others_is_one_warning(shop: Any, run: Any) -> None:
    run("keys", "add", "shop")
    keys_file(shop).chmod(0o644)
    listed = run("keys")
    assert listed.code == 0
    (warning,) = listed.err.splitlines()
    assert warning.startswith("warning: ")
    assert "chmod 600" in warning
    elsewhere = keys_file(shop).rename(shop.folder / "elsewhere.json")
    elsewhere.chmod(0o600)
    keys_file(shop).symlink_to(elsewhere)
    (warning,) = run("keys").err.splitlines()
    assert "link to a file elsewhere" in warning


def test_options_may_precede_or_follow_the_subcommand(
    shop: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = run("keys", "--project", shop.project, "--json", "add", "one")
    after = run("keys", "add", "two", "--project", shop.project, "--json")
    assert [before.json["name"], after.json["name"]] == ["one", "two"]
    assert "no tastemaker.toml here" in run("keys").refused(2)


@pytest.mark.parametrize("verb", [[], ["add"], ["remove"]])
def test_every_command_has_help(run: Any, verb: list[str]) -> None:
    done = run("keys", *verb, "--help")
    assert done.code == 0
    assert "--json" in done.out
    assert "--project" in done.out


# --- the address of a server ---


@pytest.mark.parametrize("host", [ANYWHERE, "192.168.0.1", "example.org", "::", ""])
def test_other_machines_are_served_only_with_a_key(shop: Any, run: Any, host: str) -> None:
    run("train")
    assert "tastemaker keys add NAME" in run("serve", "--host", host).refused(2)
    run("keys", "add", "shop")
    run("keys", "remove", "shop")
    assert "tastemaker keys add NAME" in run("serve", "--host", host).refused(2)


def test_the_host_in_the_project_file_is_checked_too(shop: Any, run: Any) -> None:
    run("train")
    shop.change("[split]", f'[server]\nhost = "{ANYWHERE}"\n[split]')
    assert "tastemaker keys add NAME" in run("serve").refused(2)
    (port,) = [
        each
        for each in json.loads(run("doctor", "--json").out)["findings"]
        if each["what"] == "port"
    ]
    assert port["verdict"] == "bad"
    assert "tastemaker keys add NAME" in port["fix"]


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 300])
def test_an_address_of_another_machine_is_reported(shop: Any, run: Any, host: str) -> None:
    run("train")
    run("keys", "add", "shop")
    assert f"host '{host}' is not an address of this machine" in run(
        "serve", "--host", host
    ).refused(2)
