"""Control groups of tasks: what is written where, in both versions. Folders stand in for the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.engine.docker.task_groups import TaskGroups
from moorage.engine.driver import TaskLimits

ARN = "arn:aws:ecs:us-east-1:000000000000:task/main/0123"
INFO = {"CgroupDriver": "cgroupfs"}
LIMITS = TaskLimits(memory=512, cpus=0.25)


def test_version_1_has_a_folder_below_each_controller(tmp_path: Path) -> None:
    for controller in ("memory", "cpu"):
        (tmp_path / controller).mkdir()
    groups = TaskGroups("inst", local=True, root=tmp_path)
    groups.settle(INFO)
    assert groups.make("sandbox", ARN, LIMITS) == "/moorage-inst/0123"
    memory, cpu = (tmp_path / controller / "moorage-inst/0123" for controller in ("memory", "cpu"))
    assert (memory / "memory.limit_in_bytes").read_text() == str(512 << 20)
    assert ((cpu / "cpu.cfs_period_us").read_text(), (cpu / "cpu.cfs_quota_us").read_text()) == ("100000", "25000")


def test_version_2_has_one_folder(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    groups = TaskGroups("inst", local=True, root=tmp_path)
    groups.settle(INFO)
    assert groups.make("sandbox", ARN, LIMITS) == "/moorage-inst/0123"
    folder = tmp_path / "moorage-inst/0123"
    assert (tmp_path / "moorage-inst/cgroup.subtree_control").read_text() == "+cpu +memory"
    assert (folder / "memory.max").read_text() == str(512 << 20)
    assert (folder / "cpu.max").read_text() == "25000 100000"


@pytest.mark.parametrize(
    ("local", "info"), [(False, INFO), (True, {"CgroupDriver": "systemd"}), (True, {"CgroupDriver": "none"})]
)
def test_where_there_can_be_none(tmp_path: Path, local: bool, info: dict[str, str]) -> None:
    groups = TaskGroups("inst", local=local, root=tmp_path)
    (tmp_path / "memory").mkdir()
    groups.settle(info)
    assert groups.make("sandbox", ARN, LIMITS) is None
    assert list((tmp_path / "memory").iterdir()) == []


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    groups = TaskGroups("inst", local=True, root=tmp_path / "absent")
    groups.sweep()
    groups.settle(INFO)
    assert groups.make("sandbox", ARN, LIMITS) is None


def test_empty_groups_of_an_earlier_process_go(tmp_path: Path) -> None:
    old = tmp_path / "memory" / "moorage-inst" / "old"
    old.mkdir(parents=True)
    other = tmp_path / "memory" / "moorage-other" / "task"
    other.mkdir(parents=True)
    TaskGroups("inst", local=True, root=tmp_path).settle(INFO)
    assert not old.exists()
    assert other.exists()
