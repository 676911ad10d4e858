"""What every guided model takes from the model that it guides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

from diffnum.types import Denoiser, Schedule

__all__ = ["OfMain"]


class OfMain:
    """Base of the records of guided models; attributes that are not their own are those of the main model."""

    main: Denoiser

    @property
    def schedule(self) -> Schedule:
        """Schedule of the main model."""
        return self.main.schedule

    def conditioned(self, condition: Any) -> Self:
        """Return the same guidance with a condition bound to the main model.

        Parameters
        ----------
        condition
            As the main model takes it.
        """
        record: Any = self
        return replace(record, main=record.main.conditioned(condition))  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        """Look up what is not guidance in the main model."""
        if name.startswith("__") or "main" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.__dict__["main"], name)
