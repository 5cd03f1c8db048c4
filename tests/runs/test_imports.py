"""Reading runs costs no import of torch or matplotlib, which take seconds."""

import pkgutil
import subprocess
import sys

from metaplast import runs


def test_no_module_of_the_package_imports_torch() -> None:
    names = [module.name for module in pkgutil.iter_modules(runs.__path__, "metaplast.runs.")]
    assert len(names) >= 7
    code = f"import sys, {', '.join(names)}; print({{'torch', 'matplotlib', 'pandas'}} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
