"""Tool calls: one tiny module per way of writing them; `Toolbox` is the room's door."""

from quintet.engines.text.tools.reader import CallReader
from quintet.engines.text.tools.toolbox import Toolbox

__all__ = ["CallReader", "Toolbox"]
