"""Which W&B server is meant, and whether there is a key for it, by W&B's own settings; without importing W&B."""

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

PUBLIC = "https://api.wandb.ai"


def host(base_url: str | None = None) -> str:
    """The server's address: the given one, or WANDB_BASE_URL, or W&B's public server."""
    return (base_url or os.environ.get("WANDB_BASE_URL") or PUBLIC).rstrip("/")


def has_key(server: str) -> bool:
    """Whether the environment or .netrc has a key for it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        return netrc.netrc(path).authenticators(urlsplit(server).netloc) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def without_key(text: str) -> str:
    """The text, should W&B quote the key in it, without it."""
    key = os.environ.get("WANDB_API_KEY")
    return text.replace(key, "***") if key else text
