"""Adapters to the Hugging Face Hub, as folders that are loaded from there by name."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitInfo, create_branch, create_repo, hf_hub_download, upload_folder

# What the way to the Hub raises, by whichever library huggingface_hub takes: httpx, or a later one.
from huggingface_hub.errors import HTTPError, RemoteEntryNotFoundError  # type: ignore[attr-defined]
from transformers import PreTrainedModel

from focusllm.condensing.adapter_files import ADAPTER_FILES, save_adapter
from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.hub import reason_of
from focusllm.condensing.model_card import CARD_NAME
from focusllm.config import FocusConfig
from focusllm.errors import AdapterError


def upload_adapter(
    repo_id: str,
    adapter: CandidateAdapter,
    config: FocusConfig,
    base: PreTrainedModel,
    *,
    private: bool | None = None,
    commit_message: str | None = None,
    token: bool | str | None = None,
    revision: str | None = None,
) -> CommitInfo:
    """Upload an adapter folder in one commit, into a repository that is made unless it is there.

    Args:
        repo_id: ``owner/name``, or the name of one of one's own.
        adapter: What is uploaded.
        config: The settings it goes with.
        base: The base it goes with, which is named and stays where it is.
        private: Whether a new repository is private; ``None`` leaves that to its owner's settings.
        commit_message: What the commit is called.
        token: Of whom may write there; ``None``: ``HF_TOKEN``, or that of ``hf auth login``.
        revision: The branch, made unless it is there; ``None`` for the main one.

    Raises:
        AdapterError: The Hub, or the way to it, refuses.
    """
    try:
        place = create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
        # A pull request that is open is no branch to be made.
        if revision is not None and not revision.startswith("refs/"):
            create_branch(place, branch=revision, token=token, exist_ok=True)
        with TemporaryDirectory() as temporary:
            folder = Path(temporary) / place
            # What others wrote on the card that is there is kept, as in a folder.
            with suppress(RemoteEntryNotFoundError):
                hf_hub_download(place, CARD_NAME, revision=revision, token=token, local_dir=folder)
            save_adapter(folder, adapter, config, base, place)
            return upload_folder(
                repo_id=place, folder_path=folder, allow_patterns=list(ADAPTER_FILES), token=token, revision=revision,
                commit_message=commit_message or "Upload FocusLLM adapter",
            )  # fmt: skip
    except (OSError, ValueError, HTTPError) as error:
        raise AdapterError(
            f"The adapter cannot be uploaded to {repo_id!r} on the Hugging Face Hub ({reason_of(error)}). Give an "
            f"`owner/name` that you may write to, and a token with that right: `token`, HF_TOKEN or `hf auth login`."
        ) from error
