"""Keeps out of logs and terminals what libraries say and nobody can act on: single sentences, never whole loggers."""

import logging
import warnings

# On a CPU with AVX512-BF16, bitsandbytes misses a kernel of the hub as soon as it is imported. It would serve weights
# repacked for it, which `trainers.models` switches off, because gradients through them are wrong.
_MISSED_KERNEL = "Failed to load CPU gemm_4bit_forward from kernels-community"


def _worth_saying(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_MISSED_KERNEL)


logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_worth_saying)


def be_quiet() -> None:
    """Keep out of a run's log what nobody can act on."""
    from transformers.utils import logging as of_transformers

    of_transformers.disable_progress_bar()
    # peft asks for it by its old name.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
