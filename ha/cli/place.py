"""Where this installation lies: asked by every command, answered by ``ha.node.layout``."""

import os
import sys

from ha.cli.guard import CliError
from ha.node.layout import Layout, LayoutError


def layout() -> Layout:
    """From the environment, else from the place of the launcher that was called. Raises CliError."""
    try:
        return Layout.find(os.environ, sys.argv[0])
    except LayoutError as error:
        raise CliError(str(error)) from None


def use_packages() -> None:
    """Make installed packages importable where the launcher left them out.

    The launchers run without the ``site`` module, which costs more than what the quick commands do.
    """
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
