"""Our own plugins of Hydra, which Hydra has to know before a configuration may name them."""

from hydra.core.plugins import Plugins

from metaplast.app.launcher import LocalLauncher
from metaplast.app.search.first_tasks import FirstTasks
from metaplast.app.search.sweeper import Search


def register() -> None:
    """Make our plugins known.

    Hydra takes plugins from packages named `hydra_plugins` alone, and scans these at every start. A name of that form
    in its register, for a class that lives here, saves the scan and the package.
    """
    Plugins.instance().class_name_to_class |= {
        "hydra_plugins.metaplast.FirstTasks": FirstTasks,
        "hydra_plugins.metaplast.LocalLauncher": LocalLauncher,
        "hydra_plugins.metaplast.Search": Search,
    }
