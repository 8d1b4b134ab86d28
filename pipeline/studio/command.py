"""The work of the command `studio`."""

import os
import socket
from pathlib import Path

from dreamreel.pipeline.app.terminal import print_line
from dreamreel.pipeline.errors import UserError, expanded
from dreamreel.pipeline.studio.folder import Studio


def studio_command(folder: Path, host: str, port: int, opens: bool, password: Path | None) -> None:
    """Serve the studio in `folder` until Ctrl-C. Raises UserError if it cannot be served."""
    if not 0 < port < 65536:
        raise UserError(f"--port {port} is not between 1 and 65535")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
    except OSError as error:
        raise UserError(
            f"{host}, port {port} cannot be used ({error.strerror}); give another --port"
        ) from error
    try:
        from dreamreel.pipeline.studio.server import serve
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "nicegui":
            raise
        raise UserError("the studio needs NiceGUI: pip install 'dreamreel[studio]'") from error
    studio = Studio.at(expanded(folder))
    password = None if password is None else password.absolute()
    os.chdir(studio.root)  # relative names in settings are of files there
    serve(studio, host, port, opens, password, lambda url: print_line(f"the studio is at {url}"))
