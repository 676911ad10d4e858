"""Pipelines and networks in diffusers' format: ``load("diffusers:PATH_OR_ID")``.

A folder is a pipeline (``model_index.json``) or one network (``config.json``, with ``scheduler_config.json`` beside it
or in ``scheduler/``). An optional ``diffnum.json`` records options of this loader and the SHA-256 of the weights:
``{"options": {"null_label": true, "value_range": [-1, 1]}, "sha256": {"unet/diffusion_pytorch_model.safetensors":
"..."}}``. Files of the hub's cache are named by their SHA-256, and are checked against it.
"""

from __future__ import annotations

import hashlib
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffnum.jobs.data import read_json
from diffnum.jobs.extras import explained
from diffnum.models.conditions.latents import Latents
from diffnum.models.conditions.prompts import Prompts
from diffnum.models.conditions.text import encoder_of, null_of
from diffnum.models.denoiser import Level, NetworkDenoiser
from diffnum.models.loading.architectures import READERS, Parts, Request, Time, read_network
from diffnum.models.loading.edm import Preconditioned
from diffnum.models.loading.files import MissingModelError, ModelFileError
from diffnum.models.loading.tables import is_preconditioned, prediction_of, schedule_of
from diffnum.schedules import EDM, VE, FlowMatching, Tabulated
from diffnum.types import Prediction, Schedule

__all__ = ["load_diffusers"]

_NETWORKS = ("unet", "transformer")
_UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
_PARTS = ("vae", "text_encoder", "text_encoder_2", "text_encoder_3")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True)
class _Folder:
    """Where the parts of a checkpoint are."""

    root: Path
    network: Path
    kind: str
    component: str | None
    scheduler: Mapping[str, Any] | None


def load_diffusers(
    name: str,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    schedule: Schedule | None = None,
    prediction: Prediction | None = None,
    shift: float | None = None,
    sample_size: int | tuple[int, int] | None = None,
    null_label: bool | None = None,
    time: Time | None = None,
    guidance: float = 3.5,
    value_range: tuple[float, float] | None = None,
    variant: str | None = None,
    trust_pickle: bool = False,
    download: bool = False,
) -> NetworkDenoiser:
    """Load a network, or the network of a pipeline, that diffusers saved.

    Parameters
    ----------
    name
        Folder, or identifier of the Hugging Face hub, which is looked for in the local cache.
    dtype
        Floating dtype of the parameters.
    device
        Where to put them, the CPU by default.
    schedule, prediction
        For checkpoints without a scheduler; one that contradicts the scheduler's is refused.
    shift
        Shift of a flow-matching schedule; the configured one by default.
    sample_size
        Height and width of the samples (latents), for networks that take any.
    null_label
        Whether the last class of a U-Net with classes stands for "unconditional".
    time
        ``"continuous"`` or ``"index"`` (times rounded to whole labels). By default times are rounded only where the
        network is a table with entries at whole times, and a warning says so; ``"continuous"`` then interpolates.
    guidance
        Scale that networks distilled with guidance are told.
    value_range
        Interval of the (decoded) images; [-1, 1] by default.
    variant
        Variant of the files, such as ``"fp16"``.
    trust_pickle
        Read weights from a pickle where there are no safetensors.
    download
        Fetch a hub identifier that is not in the cache.

    Returns
    -------
    NetworkDenoiser
        For latent models with :attr:`~NetworkDenoiser.latents`; for text models with prompts.

    Raises
    ------
    MissingModelError
        If there is no such folder, it holds no network or no weights, or the identifier is not in the cache.
    ModelFileError
        If a configuration or the weights are corrupt, incomplete, or of another architecture.
    ValueError
        If the class of network, the table of betas or the prediction type is unknown, there is no schedule, or the
        given one contradicts the checkpoint.
    """
    device = torch.device("cpu") if device is None else device
    folder = _find(name, download)
    recorded = _record(folder.root)
    null_label = recorded.get("null_label") if null_label is None else null_label
    low, high = value_range or recorded.get("value_range", (-1.0, 1.0))
    process = _process(folder, schedule, shift, _tokens(folder, sample_size))
    predicted = _prediction(folder, prediction)
    flow = isinstance(process, FlowMatching)
    scale = float((folder.scheduler or {}).get("num_train_timesteps", 1000)) if flow else 1.0
    size = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
    network = _network(folder, dtype, variant, trust_pickle)
    parts = read_network(network, Request(scale, size, null_label, time, guidance), dtype)
    _check_table(process, network)
    if parts.rounds_time and time is None:
        warnings.warn(
            f"{name}: the network has a learned embedding at {network.config.num_train_timesteps} whole times only, so "
            'other times are rounded; load it with time="continuous" to interpolate the embedding, or use a grid of '
            "whole times (diffnum.grids.model_timesteps)",
            stacklevel=3,
        )
    module, predicted = _preconditioned(parts.module, predicted, folder.scheduler)
    pipe = _pipeline(folder, network, dtype, trust_pickle, variant)
    autoencoder = getattr(pipe, "vae", None)
    module.eval().requires_grad_(False).to(device)
    return NetworkDenoiser(
        module=module,
        prediction=predicted,
        schedule=process,
        sample_shape=parts.sample_shape,
        value_range=(float(low), float(high)),
        name=f"diffusers:{name}",
        dtype=dtype,
        device=device,
        level=_level(process),
        level_dtype=torch.float64,
        num_classes=parts.num_classes,
        unconditional=parts.unconditional,
        prompts=_prompts(parts, pipe, device),
        latents=None if autoencoder is None else _latents(autoencoder, device),
        rounds_time=parts.rounds_time,
        default_t_start=float(getattr(process, "default_t_start", process.t_max)),
        default_t_end=float(getattr(process, "default_t_end", process.t_min)),
    )


# ---------------------------------------------------------------- files


def _find(name: str, download: bool) -> _Folder:
    root = Path(name).expanduser()
    if not root.is_dir():
        root = _cached(name, download)
    index = root / "model_index.json"
    if not index.is_file():
        if not (root / "config.json").is_file():
            msg = (
                f"{root} holds neither model_index.json (a pipeline) nor config.json (a network); give the folder "
                "that save_pretrained wrote."
            )
            raise MissingModelError(msg)
        return _Folder(root, root, _class_name(root), None, _scheduler(root))
    entries = _json(index)
    found = next((part for part in _NETWORKS if entries.get(part, [None, None])[1] is not None), None)
    if found is None or not (root / found / "config.json").is_file():
        msg = (
            f"{index} names no network that is here ({' or '.join(_NETWORKS)} with a config.json); fetch the whole "
            "folder."
        )
        raise MissingModelError(msg)
    return _Folder(root, root / found, _class_name(root / found), found, _scheduler(root))


def _cached(name: str, download: bool) -> Path:
    """Snapshot of a hub identifier."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=not download))
    except HFValidationError as error:
        msg = f"{name!r} is no folder, and no identifier of the hub (OWNER/NAME)."
        raise MissingModelError(msg) from error
    except (LocalEntryNotFoundError, OSError) as error:
        msg = (
            f"{name!r} is no folder, and not in the cache of the hub; fetch it with `hf download {name}`, or pass "
            "download=True."
        )
        raise MissingModelError(msg) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        msg = f"{path}: not readable as JSON ({error}); fetch it again."
        raise ModelFileError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path}: holds a {type(content).__name__}, not an object; fetch it again."
        raise ModelFileError(msg)
    return content


def _class_name(folder: Path) -> str:
    return str(_json(folder / "config.json").get("_class_name"))


def _scheduler(root: Path) -> Mapping[str, Any] | None:
    for place in (root / "scheduler" / "scheduler_config.json", root / "scheduler_config.json"):
        if place.is_file():
            return _json(place)
    return None


def _record(root: Path) -> dict[str, Any]:
    """Options of ``diffnum.json``, after the weights have been checked against its digests."""
    path = root / "diffnum.json"
    record = _json(path) if path.is_file() else {}
    for file, digest in record.get("sha256", {}).items():
        weights = root / file
        if not weights.is_file():
            msg = f"{weights} is missing, and {path} records it; fetch it again."
            raise MissingModelError(msg)
        _check_digest(weights, digest)
    return dict(record.get("options", {}))


def _check_digest(path: Path, expected: str) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        msg = (
            f"{path}: SHA-256 is {found}, expected {expected}; the file is corrupt or of another version. "
            "Delete it and fetch it again."
        )
        raise ModelFileError(msg)


def _weights(folder: Path, trust_pickle: bool) -> bool:
    """Whether the weights are safetensors; refuses pickles that are not trusted."""
    safe = sorted(folder.glob("*.safetensors"))
    for path in safe:
        target = path.resolve().name
        if _SHA256.fullmatch(target):
            _check_digest(path, target)
    if safe:
        return True
    pickles = [path for path in folder.iterdir() if path.suffix in _PICKLES]
    if not pickles:
        msg = f"{folder} holds no weights (*.safetensors); fetch the whole folder."
        raise MissingModelError(msg)
    if not trust_pickle:
        msg = (
            f"{pickles[0]} is a pickle, which can run any program when it is read; convert it to safetensors, or pass "
            "trust_pickle=True if you trust where it is from."
        )
        raise ModelFileError(msg)
    return False


def _network(folder: _Folder, dtype: torch.dtype, variant: str | None, trust_pickle: bool) -> Any:
    """The network with its weights, every parameter accounted for."""
    if folder.kind not in READERS:
        msg = (
            f"{folder.network / 'config.json'} is of class {folder.kind}; diffnum knows {', '.join(READERS)}. Wrap the "
            "network with diffnum.models.wrap(module, ...)."
        )
        raise ValueError(msg)
    safe = _weights(folder.network, trust_pickle)
    kind = getattr(_diffusers(), folder.kind)
    try:
        network, loading = kind.from_pretrained(
            str(folder.network),
            use_safetensors=safe,
            local_files_only=True,
            low_cpu_mem_usage=False,
            variant=variant,
            output_loading_info=True,
            **_as_dtype(dtype),
        )
    except Exception as error:
        msg = f"{folder.network}: the weights cannot be read into {folder.kind} ({_brief(error)}); fetch them again."
        raise ModelFileError(msg) from error
    wrong = {what: loading[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys") if loading[what]}
    if wrong:
        listed = "; ".join(f"{what.replace('_', ' ')}: {len(keys)}, {keys[0]} first" for what, keys in wrong.items())
        msg = f"{folder.network}: the weights are not those of its config.json ({listed})."
        raise ModelFileError(msg)
    # Some classes are loaded in the dtype of the file, whatever is asked for; theirs is the plain conversion of torch.
    return nn.Module.to(network, dtype).eval()


def _diffusers() -> Any:
    try:
        return import_module("diffusers")
    except ModuleNotFoundError as error:
        msg = "a model in diffusers' format"
        raise explained(msg, error, "interop") from error


def _absent(root: Path, part: str, entry: Any) -> bool:
    """Whether a part of a pipeline is not here, or not needed: only text encoders may be missing."""
    named = isinstance(entry, list) and entry[1] is not None
    optional = part in _UNUSED or (part.startswith(("text_encoder", "tokenizer")) and not (root / part).is_dir())
    return isinstance(entry, list) and (optional or not named)


def _as_dtype(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Keyword by which this version of diffusers takes a dtype; the old one has begun to warn."""
    from diffusers.utils import deprecation_utils

    return {"dtype" if hasattr(deprecation_utils, "_resolve_dtype") else "torch_dtype": dtype}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' progress bars, which are drawn wherever standard error goes."""
    shown = []
    for library in ("diffusers", "transformers"):
        if library in sys.modules or find_spec(library) is not None:
            logging = import_module(f"{library}.utils.logging")
            shown += [logging] if logging.is_progress_bar_enabled() else []
            logging.disable_progress_bar()
    try:
        yield
    finally:
        for logging in shown:
            logging.enable_progress_bar()


def _brief(error: Exception) -> str:
    """What went wrong, on one line and not for pages."""
    return " ".join((str(error) or type(error).__name__).split())[:300]


def _pipeline(folder: _Folder, network: nn.Module, dtype: torch.dtype, trust_pickle: bool, variant: str | None) -> Any:
    """The other parts of a pipeline; ``None`` where a sampler needs none of them."""
    if folder.component is None:
        return None
    entries = _json(folder.root / "model_index.json")
    if not any(entries.get(part, [None, None])[1] for part in _PARTS):
        return None
    if "vae" in entries and not (folder.root / "vae").is_dir():
        msg = f"{folder.root / 'vae'} is missing, and model_index.json names it; fetch it too."
        raise MissingModelError(msg)
    absent = {part: None for part in entries if _absent(folder.root, part, entries[part])}
    try:
        with _quiet():
            return _diffusers().DiffusionPipeline.from_pretrained(
                str(folder.root),
                use_safetensors=None if trust_pickle else True,
                local_files_only=True,
                low_cpu_mem_usage=False,
                variant=variant,
                **_as_dtype(dtype),
                **{folder.component: network},
                **absent,
            )
    except Exception as error:
        msg = f"{folder.root}: the pipeline cannot be read ({_brief(error)})."
        raise ModelFileError(msg) from error


# ---------------------------------------------------------------- what a sampler must know


def _tokens(folder: _Folder, size: int | tuple[int, int] | None) -> int | None:
    """Length of the image as the transformer's sequence: patches of two by two."""
    size = _json(folder.network / "config.json").get("sample_size", 128) if size is None else size
    height, width = (size, size) if isinstance(size, int) else size
    return (height // 2) * (width // 2)


def _process(folder: _Folder, schedule: Schedule | None, shift: float | None, tokens: int | None) -> Schedule:
    if folder.scheduler is None:
        if schedule is None:
            msg = (
                f"schedule: {folder.root} has no scheduler_config.json; pass schedule=, such as "
                "diffnum.schedules.Tabulated.from_betas(diffnum.schedules.linear_betas()), and prediction="
            )
            raise ValueError(msg)
        return schedule
    if schedule is None:
        return schedule_of(folder.scheduler, shift=shift, tokens=tokens)
    own = schedule_of(folder.scheduler, shift=shift, tokens=tokens)
    if schedule != own:
        msg = (
            f"schedule={schedule!r} does not match the checkpoint, whose {folder.scheduler.get('_class_name')} says "
            f"{own!r}; leave schedule out, or remove the scheduler's configuration"
        )
        raise ValueError(msg)
    return own


def _prediction(folder: _Folder, prediction: Prediction | None) -> Prediction:
    if folder.scheduler is None:
        if prediction is None:
            msg = (
                f"prediction: {folder.root} has no scheduler_config.json; pass prediction= one of data, noise, "
                "velocity, score, v"
            )
            raise ValueError(msg)
        return prediction
    if prediction is not None:
        return prediction
    return prediction_of(folder.scheduler)


def _check_table(process: Schedule, network: Any) -> None:
    """Refuse a table of another length than the network's own."""
    learned = getattr(network.config, "time_embedding_type", None) == "learned"
    size = network.config.get("num_train_timesteps") if learned else None
    if size is not None and not (isinstance(process, Tabulated) and process.size == size):
        msg = (
            f"schedule={process!r} does not match the checkpoint, whose network has {size} labels; pass a table of "
            "that size"
        )
        raise ValueError(msg)


def _preconditioned(
    module: nn.Module, prediction: Prediction, scheduler: Mapping[str, Any] | None
) -> tuple[nn.Module, Prediction]:
    """Network of an EDM scheduler, which preconditions it: what comes out then is the data."""
    if scheduler is None or not is_preconditioned(scheduler):
        return module, prediction
    kinds = {"noise": "edm", "v": "edm_v"}
    if prediction not in kinds:
        msg = (
            f"prediction_type={scheduler.get('prediction_type')!r}: {scheduler.get('_class_name')} preconditions "
            "networks of epsilon and v_prediction only"
        )
        raise ValueError(msg)
    return Preconditioned(module, kinds[prediction], float(scheduler.get("sigma_data", 0.5))), "data"


def _level(process: Schedule) -> Level:
    """Tables are asked by label; the processes that diffusers has no table for are asked by sigma."""
    return "sigma" if isinstance(process, (FlowMatching, VE, EDM)) else "time"


def _prompts(parts: Parts, pipe: Any, device: torch.device) -> Prompts | None:
    if parts.conditions is None:
        return None
    encode = encoder_of(pipe, parts.fixed, device)
    return Prompts(parts.conditions, encode, null_of(pipe, encode, parts.fixed))


def _latents(autoencoder: Any, device: torch.device) -> Latents:
    config = autoencoder.config
    autoencoder.eval().requires_grad_(False).to(device)
    return Latents(autoencoder, float(config.get("scaling_factor") or 1.0), float(config.get("shift_factor") or 0.0))
