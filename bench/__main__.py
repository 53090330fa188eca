"""`python -m bench [PART …] [--publish]`: run benchmarks (all of PARTS by default), print tables, publish them."""

from __future__ import annotations

import sys
from importlib import import_module

PARTS = {
    "engine": "bench.text_engine",
    "accuracy": "bench.accuracy",
    "server": "bench.text_server",
    "gateway": "bench.gateway",
    "start": "bench.start",
    "load": "bench.load",
    "pull": "bench.pull",
    "grammar": "bench.grammar",
    "adapters": "bench.adapters",
    "vision": "bench.vision",
    "burst": "bench.vision_burst",
    "images": "bench.images",
}


def main() -> int:
    """Run the named parts, or all of them."""
    publish = "--publish" in sys.argv
    named = [word for word in sys.argv[1:] if not word.startswith("-")]
    unknown = [word for word in named if word not in PARTS]
    if unknown:
        print(f"bench: no part named {unknown[0]}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    for name in named or PARTS:
        for table in import_module(PARTS[name]).main():
            print(f"\n{table.markdown()}\n", flush=True)
            if publish:
                table.publish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
