"""Fetches a model folder from the Hugging Face hub, or finds it in the hub's own cache."""

from __future__ import annotations

from pathlib import Path

from descant.model.storage import storage_errors
from descant.schema.errors import ModelNotFound, NetworkUnavailable

# Never pickles: only safetensors and the JSON beside them are asked for.
_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model"]


def download_model(name: str) -> Path:
    """Return the local folder of a Hugging Face model, downloading it on first use.

    Raises:
        ModelNotFound: the hub has no such model, or not for this user.
        NetworkUnavailable: the hub cannot be reached and the model is not in the local cache.
        StorageFull: the disk is full.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    with storage_errors(Path(name)):
        try:
            return Path(snapshot_download(name, allow_patterns=_PATTERNS))
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise ModelNotFound(
                f"The Hugging Face hub has no model {name!r} for you.",
                field="model",
                remedy="Check the name; for a gated model, log in with: hf auth login",
            ) from error
        except (LocalEntryNotFoundError, HfHubHTTPError) as error:
            raise _unreachable(name) from error
        except Exception as error:
            # A connection that breaks half-way shows as an error of the library's own HTTP client.
            if type(error).__module__.partition(".")[0] not in ("httpx", "httpcore"):
                raise
            raise _unreachable(name) from error


def _unreachable(name: str) -> NetworkUnavailable:
    return NetworkUnavailable(
        f"The model {name!r} is not in the local cache, and the hub cannot be reached.",
        field="model",
        remedy="Give the path of a model folder, or use the embedded model.",
    )
