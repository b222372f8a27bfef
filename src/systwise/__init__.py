"""systwise: classifiers that know about systematic uncertainties, and what each one buys."""

from importlib.metadata import version

__version__ = version("systwise")
