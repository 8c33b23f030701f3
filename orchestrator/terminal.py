"""Lines and tables on the terminal, as they are: text of others is never read as markup."""

from rich.console import Console
from rich.text import Text

from orchestrator.table import Table


def tell(console: Console, text: str, style: str = "") -> None:
    """A line as it is: neither wrapped nor read as markup."""
    console.print(Text(text, style), soft_wrap=True)


def show(table: Table, console: Console) -> None:
    """The table as wide as fits, then its captions and what had no room."""
    shown, hidden = table.rich(console.width)
    console.print(shown)
    for line in [*table.captions(), *hidden]:
        tell(console, line)
