from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from pipeline import doctor
from pipeline.doctor import Finding, as_json, examine


def find(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


def test_the_check_names_versions_devices_stand_ins_and_disk(tmp_path: Path) -> None:
    findings = examine(str(tmp_path))
    names = {finding.name for finding in findings}
    assert {"python", "torch", "mmpose", "torch threads", "mmpose stand-ins", "free disk"} <= names
    assert find(findings, "disk").level == "ok"


def test_every_bad_line_says_how_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_is_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing_is_installed)
    monkeypatch.setattr(doctor, "_REQUIRED_FREE_GB", 1e9)
    bad = [finding for finding in examine(str(tmp_path)) if finding.level == "bad"]
    assert {"mmpose", "torch", "free disk"} <= {finding.name for finding in bad}
    assert all(finding.repair for finding in bad)


def test_two_flavours_of_cv2_are_a_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_is_installed", lambda name: "contrib" not in name)
    found = doctor._cv2_flavours()
    assert found.level == "bad"
    assert "opencv-python, opencv-python-headless" in found.value
    assert found.repair is not None


def test_a_folder_that_does_not_exist_yet_is_measured_on_its_disk(tmp_path: Path) -> None:
    assert find(examine(str(tmp_path / "a" / "b")), "disk").level == "ok"
    assert not (tmp_path / "a").exists()


def test_a_disk_that_refuses_writing_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: Path) -> tuple[float, float]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor, "_disk_speed", refuse)
    found = find(examine(str(tmp_path)), "disk")
    assert found.level == "bad"
    assert "Permission denied" in found.value
    assert found.repair is not None


@pytest.mark.parametrize(("kernel", "level"), [(object(), "ok"), (None, "bad")])
def test_the_check_says_whether_the_sampling_kernel_was_compiled(
    kernel: object, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifter.ops.cpu._kernel", lambda: kernel)
    found = find(examine(str(tmp_path)), "sampling kernel")
    assert found.level == level
    assert (found.repair is None) == (level == "ok")


@pytest.mark.parametrize(
    ("installed", "has_gpu", "level"),
    [(True, True, "ok"), (True, False, "ok"), (False, True, "bad"), (False, False, "note")],
)
def test_the_check_says_whether_triton_can_sample_on_a_gpu(
    installed: bool, has_gpu: bool, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_is_installed", lambda name: installed and name == "triton")
    monkeypatch.setattr(metadata, "version", lambda _name: "3.7")
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    found = doctor._triton()
    assert found.level == level
    assert "triton" in found.value
    assert (found.repair is None) == (level != "bad")


def test_one_bad_line_makes_the_report_not_ok() -> None:
    good, bad = Finding("a", "ok", "1"), Finding("b", "bad", "missing", "make setup")
    assert as_json([good])["ok"]
    assert not as_json([good, bad])["ok"]
    assert as_json([bad])["findings"][0]["repair"] == "make setup"
