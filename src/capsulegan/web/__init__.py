"""The explorer: a page on this machine that shows what a run's generator draws and its discriminator says."""

from capsulegan.web.explorer import Explorer
from capsulegan.web.server import ExplorerServer

__all__ = ["Explorer", "ExplorerServer"]
