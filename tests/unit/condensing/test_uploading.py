"""Adapters are uploaded as the folders they are loaded from: what would be sent to the Hub is looked at here."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import CommitInfo
from huggingface_hub.errors import HTTPError, RemoteEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from focusllm import FocusModel
from focusllm.condensing import uploading
from focusllm.condensing.adapter_files import ADAPTER_FILES, CONFIG_NAME, WEIGHTS_NAME
from focusllm.condensing.model_card import CARD_NAME
from focusllm.errors import AdapterError
from tiny import SMALL, disturb, random_ids, save_tiny_base

PLACE = "me/adapter"


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class Hub:
    """Stands for the Hub: a folder for each branch, and what it was asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def branch(self, revision: str | None) -> Path:
        folder = self.root / (revision or "main")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def create_repo(self, repo_id: str, **options: Any) -> Any:
        self.asked.append(("repository", {"repo_id": repo_id, **options}))
        return SimpleNamespace(repo_id=repo_id if "/" in repo_id else f"me/{repo_id}")

    def create_branch(self, repo_id: str, **options: Any) -> None:
        self.asked.append(("branch", {"repo_id": repo_id, **options}))

    def hf_hub_download(self, repo_id: str, name: str, *, revision: str | None, local_dir: Path, **_: Any) -> None:
        source = self.branch(revision) / name
        if not source.exists():
            response: Any = SimpleNamespace(headers={}, request=None)
            raise RemoteEntryNotFoundError(f"404: {repo_id} has no {name}", response=response)
        local_dir.mkdir(parents=True)
        shutil.copy(source, local_dir)
        # huggingface_hub keeps notes beside what it has fetched.
        (local_dir / ".cache").mkdir()
        (local_dir / ".cache" / "notes").write_text("")

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, allow_patterns: list[str], revision: str | None, **options: Any
    ) -> CommitInfo:
        self.asked.append(("commit", {"repo_id": repo_id, "revision": revision, **options}))
        # Which files of a folder are sent is said by huggingface_hub itself.
        for name in filter_repo_objects(files_in(folder_path), allow_patterns=allow_patterns):
            shutil.copy(folder_path / name, self.branch(revision))
        url = f"https://huggingface.co/{repo_id}/commit/1"
        return CommitInfo(commit_url=url, commit_message="", commit_description="", oid="1")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(tmp_path / "hub")
    for name in ("create_repo", "create_branch", "hf_hub_download", "upload_folder"):
        monkeypatch.setattr(uploading, name, getattr(hub, name))
    return hub


@pytest.fixture
def model(tmp_path: Path) -> FocusModel:
    save_tiny_base(tmp_path / "base")
    model = FocusModel.from_pretrained(tmp_path / "base", config=SMALL, device="cpu")
    disturb(model)
    return model


def test_what_is_uploaded_is_the_adapter_and_nothing_else(hub: Hub, model: FocusModel, tmp_path: Path) -> None:
    done = model.push_to_hub("adapter", private=True, token="mine")
    assert done.commit_url == f"https://huggingface.co/{PLACE}/commit/1"
    assert files_in(hub.branch(None)) == sorted(ADAPTER_FILES) == sorted([CONFIG_NAME, WEIGHTS_NAME, CARD_NAME])
    (_, repository), (_, commit) = hub.asked
    assert repository == {"repo_id": "adapter", "private": True, "token": "mine", "exist_ok": True}
    assert (commit["repo_id"], commit["token"], commit["revision"]) == (PLACE, "mine", None)
    assert commit["commit_message"] == "Upload FocusLLM adapter"
    ids = torch.tensor([random_ids(90)])
    loaded = FocusModel.from_pretrained(adapter=hub.branch(None), device="cpu")
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_its_card_says_where_it_is_loaded_from(hub: Hub, model: FocusModel) -> None:
    model.push_to_hub(PLACE)
    assert f'adapter="{PLACE}")\n' in (hub.branch(None) / CARD_NAME).read_text()


def test_what_others_wrote_on_its_card_is_kept(hub: Hub, model: FocusModel) -> None:
    model.push_to_hub(PLACE)
    card = hub.branch(None) / CARD_NAME
    first = card.read_text()
    card.write_text(first.replace("10,240", "1") + "\nThanks to my grandmother.\n")
    model.push_to_hub(PLACE)
    assert card.read_text() == first + "\nThanks to my grandmother.\n"
    assert files_in(hub.branch(None)) == sorted(ADAPTER_FILES)


@pytest.mark.parametrize(("revision", "is_made"), [("v2", True), ("refs/pr/3", False)])
def test_a_branch_is_made_where_it_is_not(revision: str, is_made: bool, hub: Hub, model: FocusModel) -> None:
    model.push_to_hub(PLACE, revision=revision, commit_message="Better")
    branches = [asked for kind, asked in hub.asked if kind == "branch"]
    assert branches == [{"repo_id": PLACE, "branch": revision, "token": None, "exist_ok": True}] * is_made
    assert (hub.asked[-1][1]["revision"], hub.asked[-1][1]["commit_message"]) == (revision, "Better")
    assert files_in(hub.branch(revision)) == sorted(ADAPTER_FILES)
    assert not files_in(hub.branch(None))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("401 Client Error: Unauthorized\nand more"), "401 Client Error: Unauthorized"),
        (ValueError("Repo id must be in the form 'repo_name'"), "Repo id must be in the form 'repo_name'"),
        (HTTPError(""), "HTTPError"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    error: Exception, reason: str, hub: Hub, model: FocusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(uploading, "create_repo", refuse)
    with pytest.raises(AdapterError) as caught:
        model.push_to_hub(PLACE)
    assert f"cannot be uploaded to 'me/adapter' on the Hugging Face Hub ({reason}). Give" in str(caught.value)
    assert not hub.asked
