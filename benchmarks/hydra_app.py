"""The same script behind `@hydra.main`, for Hydra's joblib and submitit launchers.

python -m benchmarks.hydra_app -m hydra/launcher=joblib hydra.launcher.n_jobs=2 work=WORK out=OUT beta=0.1,0.5
"""

import hydra
from omegaconf import DictConfig

from benchmarks import plain_trl


@hydra.main(version_base="1.3", config_path=".", config_name="hydra_app")
def main(config: DictConfig) -> float:
    return plain_trl.run(config.beta, config.work, f"{config.out}/{config.beta}")["accuracy"]


if __name__ == "__main__":
    main()
