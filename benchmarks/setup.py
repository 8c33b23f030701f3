"""Makes `.venv-bench`: the product's packages, shared through a .pth file, and the tools it is compared with on top.

    .venv/bin/python -m benchmarks.setup

The others stay out of the product's environment, where Hydra would load their plugins at every start.
"""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH_VENV = ROOT / ".venv-bench"
BENCH_PYTHON = BENCH_VENV / "bin" / "python"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def main() -> None:
    if sys.prefix == sys.base_prefix:
        sys.exit("benchmarks.setup: run it with the product's own environment: .venv/bin/python -m benchmarks.setup")
    venv.create(BENCH_VENV, with_pip=True, clear=True)
    share_packages()
    pip = [str(BENCH_PYTHON), "-m", "pip"]
    subprocess.run([*pip, "install", "-q", "-c", write_constraints(), "-r", str(REQUIREMENTS)], check=True)
    subprocess.run([*pip, "list", "--local"], check=True)


def share_packages() -> None:
    inside = subprocess.check_output(
        [str(BENCH_PYTHON), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    Path(inside.strip(), "product.pth").write_text(sysconfig.get_path("purelib") + "\n")


def write_constraints() -> str:
    """Every package of the product at the version it has there, so that both sides run the same torch and trl."""
    frozen = subprocess.check_output([sys.executable, "-m", "pip", "list", "--format=freeze"], text=True).splitlines()
    kept = [line for line in frozen if not line.startswith(("pip==", "setuptools==", "prefsweep=="))]
    path = BENCH_VENV / "constraints.txt"
    path.write_text("\n".join(kept) + "\n")
    return str(path)


if __name__ == "__main__":
    main()
