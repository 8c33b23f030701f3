"""Where in its sequence a quasi-Monte Carlo sampler stands, which Optuna notes of the study and not of its trials."""

from sweeps.rows import Rows
from sweeps.samplers import SamplerSettings

# Optuna's attribute of the study, by its beginning.
_NOTE = "qmc:"


class QmcPlace:
    """Puts a sampler forward that began anew while its trials did not. Does nothing for other samplers."""

    def __init__(self, settings: SamplerSettings) -> None:
        self._active = settings.kind == "qmc"
        # The last place that is taken.
        self._taken = -1

    def at_least(self, trials: int) -> None:
        """So many trials have taken their places, though not all may be noted; the first is drawn otherwise."""
        self._taken = max(self._taken, trials - 2)

    def behind(self, rows: Rows) -> bool:
        """Whether the last draw was from a place taken before; then the next will not be."""
        place = self._place(rows)
        if place is None:
            return False
        key, at = place
        if at > self._taken:
            self._taken = at
            return False
        rows.note(key, self._taken)
        return True

    def _place(self, rows: Rows) -> tuple[str, int] | None:
        if not self._active:
            return None
        return next(((key, int(at)) for key, at in rows.notes.items() if key.startswith(_NOTE)), None)
