"""The programs of a Slurm cluster, and the Debian packages that hold them."""

import os
import shutil
import subprocess

PACKAGES = ("slurmctld", "slurmd", "slurmdbd", "slurm-client", "munge", "mariadb-server")
PROGRAMS = {
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "slurmdbd": "slurmdbd",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "sacct": "slurm-client",
}
# Daemons are where a user's PATH does not always go.
SEARCHED = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def packages_missing() -> list[str]:
    """Debian packages of the programs that are not on PATH."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program, path=SEARCHED) is None]
    return list(dict.fromkeys(missing))


def installed() -> bool:
    """Whether a cluster can be brought up here."""
    return not packages_missing()


def install() -> None:
    """Fetch the packages with apt, as root.

    Where apt starts system daemons they may stay: a cluster has sockets, ports and folders of its own.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update"], check=True, env=environment)
    subprocess.run(["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES], check=True, env=environment)
