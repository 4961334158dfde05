"""robobench: how much a vision model loses when its input is occluded, shuffled, shifted or attacked.

```python
import robobench

results = robobench.run("quickstart", models={"mine": module}, limit=200)
print(results.scores)
```
Importing the package imports nothing heavy; `run` does when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robobench.api import Results, run

__all__ = ["Results", "run"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from robobench import api

        return getattr(api, name)
    raise AttributeError(f"module 'robobench' has no attribute {name!r}")
