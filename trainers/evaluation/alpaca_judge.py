"""Asks alpaca_eval who answers better; a program of its own, since alpaca_eval sets up logging and threads anew.

    python -P alpaca_judge.py FOLDER      FOLDER/{question,outputs,reference}.json -> FOLDER/{said,annotations}.json

question.json: {"annotators_config": "...", "length_controlled": true, "cache": "/.../annotations.json"}
said.json: {"win_rate": 61.2, "standard_error": 1.7, "n_total": 805, ..., "length_controlled": null | "why it has none"}

It imports nothing of this project, and may run in an environment that has alpaca_eval alone.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    """Asks, and writes what was said; raises whatever alpaca_eval raises."""
    import pandas
    from alpaca_eval import main as alpaca
    from alpaca_eval import metrics
    from alpaca_eval.annotators import PairwiseAnnotator

    class Annotator(PairwiseAnnotator):  # type: ignore[misc]
        """Reads what it has said before as numbers with a fraction: pandas 3 puts no tie among whole ones."""

        df_annotations: Any

        def load_(self, path: Any = None) -> None:
            super().load_(path)
            if self.df_annotations is not None:
                self.df_annotations = self.df_annotations.astype({self.annotation_key: float})

    question = json.loads((folder / "question.json").read_bytes())
    board, annotations = alpaca.evaluate(
        # Not paths: it would read texts that look like dates or numbers as such.
        model_outputs=pandas.DataFrame(json.loads((folder / "outputs.json").read_bytes())),
        reference_outputs=pandas.DataFrame(json.loads((folder / "reference.json").read_bytes())),
        annotators_config=question["annotators_config"],
        output_path=None,
        precomputed_leaderboard=None,
        is_return_instead_of_print=True,
        is_cache_leaderboard=False,
        fn_metric="get_winrate",
        sort_by="win_rate",
        Annotator=Annotator,
        caching_path=question["cache"],
    )
    (row,) = board.to_dict(orient="records")
    said: dict[str, Any] = {key: _number(value) for key, value in row.items()}
    said["length_controlled"] = None
    if question["length_controlled"]:
        try:
            found = metrics.get_length_controlled_winrate(annotations, save_weights_dir=None)
            said |= {key: _number(found[key]) for key in ("length_controlled_winrate", "lc_standard_error")}
        except Exception as error:
            said["length_controlled"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    (folder / "annotations.json").write_text(json.dumps(annotations, indent=1, default=_plain))
    (folder / "said.json").write_text(json.dumps(said))


def _number(value: Any) -> float | None:
    """Of a cell of the leaderboard."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
