"""Stand-ins for Slurm's programs: shell scripts in a folder that comes first on PATH."""

from pathlib import Path

# Of what sacct prints.
HEADING = "JobID|State|NodeList|ExitCode|JobName\n"


class Programs:
    """`tell("sacct", "…")` makes a sacct that prints that; what each was asked is in `asked`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def tell(self, name: str, text: str | bytes = "", *, error: str = "", code: int = 0) -> None:
        """Print the text and the error, and exit with the code."""
        out, err = self.folder / f".{name}.out", self.folder / f".{name}.err"
        out.write_bytes(text.encode() if isinstance(text, str) else text)
        err.write_text(error)
        self.script(name, f"/bin/cat {out}; /bin/cat {err} >&2; exit {code}")

    def script(self, name: str, body: str) -> None:
        """Carry out lines of shell."""
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "$@" >> {self.folder}/.{name}.asked\n{body}\n')
        path.chmod(0o755)

    def asked(self, name: str) -> list[str]:
        """The arguments of each call."""
        path = self.folder / f".{name}.asked"
        return path.read_text().splitlines() if path.exists() else []
