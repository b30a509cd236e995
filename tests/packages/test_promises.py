"""What docs/operations says of its files, read out of the files.

No engine is at hand here, so each is parsed, and held against the service: its routes, its options,
its variables, its drain. test_container.py runs the commands.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from service.cli import main
from service.settings.reading import CONFIG_VARIABLE, FROM_ENVIRONMENT
from service.testing import Script, app_for, open_app
from tests.clients import call
from tests.packages.container import CONTEXT
from tests.packages.dockerfile import Dockerfile
from tests.packages.manifests import FOLDER, Compose, Kubernetes, Unit, seconds, settings_of

COMPOSE, KUBERNETES, UNIT = Compose(), Kubernetes(), Unit.read()
PORT = 8000
LAST_WORDS = 1
"""Seconds behind the drain after which the process has exited: docs/deploying.md, Stop."""


def dockerfile() -> Dockerfile:
    return Dockerfile((FOLDER / "Dockerfile").read_text())


# --- what all of them have in common ---


def commands() -> dict[str, Sequence[str]]:
    """What each of the files starts."""
    final = dockerfile().final
    assert KUBERNETES.container.get("command") is None
    assert COMPOSE.service.get("entrypoint") is None
    return {
        "Dockerfile": [*final.entrypoint, *final.command],
        "compose.yaml": [*final.entrypoint, *COMPOSE.service.get("command", final.command)],
        "kubernetes.yaml": [*final.entrypoint, *KUBERNETES.container["args"]],
        "compare-stream.service": UNIT.command,
    }


def parsed(command: Sequence[str]) -> click.Context:
    """The words of a command as the service would take them; wrong ones raise."""
    program, name, *arguments = command
    assert program == "/opt/compare-stream/bin/compare-stream"
    found = main.get_command(click.Context(main), name)
    assert found is not None, name
    return found.make_context(name, list(arguments))


@pytest.mark.parametrize("name", list(commands()))
def test_every_option_of_a_command_exists_and_the_ports_agree(name: str) -> None:
    bind = parsed(commands()[name]).params["bind"]
    reached = "127.0.0.1" if name.endswith(".service") else "0.0.0.0"
    assert bind == f"{reached}:{PORT}"


def test_the_ports_of_all_files_agree() -> None:
    final = dockerfile().final
    assert final.ports == [PORT]
    assert f"http://127.0.0.1:{PORT}/" in " ".join(final.healthcheck)
    (published,) = COMPOSE.service["ports"]
    assert published == f"127.0.0.1:{PORT}:{PORT}"
    (port,) = KUBERNETES.container["ports"]
    assert port == {"name": "http", "containerPort": PORT}
    (served,) = KUBERNETES.objects["Service"]["spec"]["ports"]
    assert served["targetPort"] == port["name"]
    for _, probe in KUBERNETES.probes():
        assert probe["httpGet"]["port"] == port["name"]
    annotations = KUBERNETES.deployment["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(PORT)
    (job,) = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{PORT}"]}]


def variables() -> set[str]:
    """What the service, and Python before it, looks at."""
    keys = {provider.api_key_env or "" for provider in FROM_ENVIRONMENT.values()}
    options = {
        parameter.envvar
        for name in main.list_commands(click.Context(main))
        if (command := main.get_command(click.Context(main), name))
        for parameter in [*main.params, *command.params]
        if isinstance(parameter.envvar, str)
    }
    python = {"PYTHONDONTWRITEBYTECODE"}
    return {CONFIG_VARIABLE} | keys | {f"{key}_FILE" for key in keys} | options | python


def test_every_variable_is_one_that_the_service_knows() -> None:
    final = dockerfile().final.environment
    for named in (final, COMPOSE.environment, KUBERNETES.environment, UNIT.environment):
        assert named
        assert set(named) <= variables()


@pytest.mark.parametrize("named", [COMPOSE.environment, KUBERNETES.environment, UNIT.environment])
def test_keys_come_as_files(named: dict[str, str]) -> None:
    assert [name for name in named if "KEY" in name] == ["OPENROUTER_API_KEY_FILE"]


def test_the_settings_beside_them_are_ones_that_the_service_takes(tmp_path: Path) -> None:
    for text in (COMPOSE.settings, KUBERNETES.settings):
        assert list(settings_of(text, tmp_path).providers) == ["sim", "openrouter"]


def test_every_grace_is_longer_than_the_drain(tmp_path: Path) -> None:
    for text in (COMPOSE.settings, KUBERNETES.settings):
        drain = settings_of(text, tmp_path).server.drain
        stop = KUBERNETES.container["lifecycle"]["preStop"]["exec"]["command"]
        assert stop[0] == "sleep"
        assert seconds(COMPOSE.service["stop_grace_period"]) > drain + LAST_WORDS
        assert seconds(UNIT.one("TimeoutStopSec")) > drain + LAST_WORDS
        grace = KUBERNETES.pod["terminationGracePeriodSeconds"]
        assert grace > float(stop[1]) + drain + LAST_WORDS


def test_there_are_descriptors_for_as_many_comparisons_as_may_run(tmp_path: Path) -> None:
    limits = settings_of(COMPOSE.settings, tmp_path).limits
    needed = limits.max_comparisons * (2 * limits.max_models + 1)
    assert int(UNIT.one("LimitNOFILE")) > needed
    assert COMPOSE.service["ulimits"]["nofile"] > needed


def paths() -> dict[str, str]:
    found = {name: probe["httpGet"]["path"] for name, probe in KUBERNETES.probes()}
    (url,) = re.findall(r"http://[^']+", " ".join(dockerfile().final.healthcheck))
    return {**found, "HEALTHCHECK": f"/{url.split('/', 3)[3]}"}


async def test_every_path_that_is_asked_for_is_a_route_that_needs_no_key() -> None:
    assert paths() == {
        "startupProbe": "/health",
        "readinessProbe": "/readyz",
        "livenessProbe": "/health",
        "HEALTHCHECK": "/health",
    }
    async with open_app(app := app_for(Script("a"))):
        for path in paths().values():
            assert (await call(app, "GET", path)).status == 200


async def test_what_is_scraped_is_there() -> None:
    annotations = KUBERNETES.deployment["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    async with open_app(app := app_for(Script("a"))):
        reply = await call(app, "GET", annotations["prometheus.io/path"])
    assert reply.status == 200
    assert b"compare_build_info" in reply.body


# --- one by one ---


def test_compose_gives_the_container_nothing_to_write_but_a_small_tmp() -> None:
    service = COMPOSE.service
    assert service["read_only"] is True
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in service
    build = service["build"]
    context = (FOLDER / build["context"]).resolve()
    assert context == CONTEXT
    assert context / build["dockerfile"] == FOLDER / "Dockerfile"
    secrets = COMPOSE.whole["secrets"]
    assert service["secrets"] == list(secrets)
    for name in secrets:
        assert f"/run/secrets/{name}" in COMPOSE.environment.values()


def test_compose_has_no_inline_configs_which_a_read_only_container_can_not_take() -> None:
    assert "configs" not in COMPOSE.whole
    for service in COMPOSE.whole["services"].values():
        for volume in service.get("volumes", ()):
            assert (FOLDER / volume.split(":")[0]).exists(), volume


def test_kubernetes_gives_the_pod_nothing_to_write_but_a_small_tmp() -> None:
    pod, container = KUBERNETES.pod["securityContext"], KUBERNETES.container["securityContext"]
    final = dockerfile().final
    assert pod["runAsNonRoot"] is True
    assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == final.user
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert KUBERNETES.pod["automountServiceAccountToken"] is False
    writable = [path for path, mount in KUBERNETES.mounts.items() if not mount.get("readOnly")]
    assert writable == ["/tmp"]
    assert KUBERNETES.mounts["/tmp"]["emptyDir"]["sizeLimit"]
    key = Path(KUBERNETES.environment["OPENROUTER_API_KEY_FILE"])
    secret = KUBERNETES.mounts[str(key.parent)]["secret"]
    assert secret["defaultMode"] == 0o440
    assert pod["fsGroup"] == pod["runAsGroup"]  # 0440 is the group's to read


def test_kubernetes_objects_find_each_other_and_one_pod_always_stays() -> None:
    labels = KUBERNETES.deployment["template"]["metadata"]["labels"]
    service, budget = (
        KUBERNETES.objects[kind]["spec"] for kind in ("Service", "PodDisruptionBudget")
    )
    selectors: list[Any] = [
        service["selector"],
        budget["selector"]["matchLabels"],
        KUBERNETES.deployment["selector"]["matchLabels"],
    ]
    assert selectors == [labels] * 3
    assert KUBERNETES.deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert KUBERNETES.deployment["replicas"] > budget["maxUnavailable"]
    resources = KUBERNETES.container["resources"]
    assert set(resources["limits"]) == {"memory"}  # never of cpu
    assert set(resources["requests"]) == {"cpu", "memory"}


def test_the_unit_has_no_user_to_make_and_no_capability() -> None:
    assert UNIT.one("DynamicUser") == "yes"
    assert UNIT.one("CapabilityBoundingSet") == ""
    credential, _, _ = UNIT.one("LoadCredential").partition(":")
    assert UNIT.environment["OPENROUTER_API_KEY_FILE"] == f"%d/{credential}"
    assert UNIT.one("ExecReload") == "/bin/kill -HUP $MAINPID"
    assert UNIT.one("Restart") == "always"


def systemd_analyze() -> str:
    """Never demanded: nobody should have to install an init system to run tests."""
    found = shutil.which("systemd-analyze")
    return found or pytest.skip("needs systemd-analyze")


@pytest.fixture
def installed_unit(tmp_path: Path) -> Path:
    """The unit with a command that is there."""
    unit = tmp_path / "compare-stream.service"
    text = (FOLDER / unit.name).read_text()
    assert text.count(UNIT.command[0]) == 1
    unit.write_text(text.replace(UNIT.command[0], "/bin/true"))
    return unit


def test_systemd_understands_every_line_of_the_unit(installed_unit: Path) -> None:
    systemd = systemd_analyze()
    ran = subprocess.run(
        [systemd, "verify", str(installed_unit)], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_systemd_rates_the_unit_as_little_exposed(installed_unit: Path) -> None:
    systemd = systemd_analyze()
    arguments = ["security", "--offline=true", "--json=short", "--threshold=15"]
    ran = subprocess.run(
        [systemd, *arguments, str(installed_unit)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout
    assert json.loads(ran.stdout)
