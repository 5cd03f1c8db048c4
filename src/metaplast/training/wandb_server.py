"""Whether a W&B server can be used: asked for at most a few seconds and without a prompt, which W&B itself is not."""

import ssl
import threading
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from metaplast.errors import UserError

PROBE_SECONDS = 2.5


def require_credentials() -> str:
    """Find the user's W&B credentials where W&B keeps them, and return the address of the server that they are for.

    Raises:
        UserError: if there are none, or they are malformed. (W&B would ask for them, and wait for ever.)
    """
    try:
        return _credentials()
    except UserError as error:
        raise UserError(f"logger.mode=online: {error}, or take logger=wandb, which records offline") from error


def require_server() -> str:
    """Return the address of a server that answers, and that there are credentials for.

    Raises:
        UserError: if there is none.
    """
    server = _credentials()
    if not answers(server):
        raise UserError(f"W&B: {server} does not answer")
    return server


def answers(url: str) -> bool:
    """Tell within `PROBE_SECONDS` whether a server answers at `url`, whatever it answers; through the usual proxies."""
    replies: list[bool] = []
    # In a thread, since looking up a name has no timeout of its own.
    probe = threading.Thread(target=lambda: replies.append(_ask(url)), daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return replies == [True]


def _credentials() -> str:
    import wandb

    session = wandb.setup(settings=wandb.Settings(mode="online", silent=True))
    try:
        found = wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        raise UserError(str(error)) from error
    if not found:
        raise UserError("W&B finds no API key; run `wandb login` or set WANDB_API_KEY")
    return str(session.settings.base_url)


def _ask(url: str) -> bool:
    try:
        with urlopen(Request(url, method="HEAD"), timeout=PROBE_SECONDS):
            return True
    except HTTPError as error:
        error.close()
        return True
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # it is there; W&B may know its certificate
    except (OSError, ValueError):
        return False
