"""The main job end to end: plan → assistant → purchase → metered calls → settlement, on real processes.

`make demo` runs it once and writes build/demo.json; `make up` leaves the same world running. With OPENAI_API_KEY the
assistant runs at OpenAI (model OPENAI_MODEL), without it at the provider stand-in. Every figure at the end is read back
from the chain.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    """Exit codes: 0 done, 1 a step failed, 130 interrupted."""
    try:
        from scripts import _demo  # here, because a Ctrl-C is likely in the seconds that the imports take

        _demo.main(__doc__ or "")
    except KeyboardInterrupt:
        print("\n  Everything has ended.")
        sys.exit(130)


if __name__ == "__main__":
    main()
