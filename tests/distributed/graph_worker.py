"""One rank of a graph's build: reads its settings from JSON, builds, and says what it held in the end."""

import json
import sys
from pathlib import Path

from graph.build import Config, main
from graph.search import blocks

if __name__ == "__main__":
    blocks.WIDTH, blocks.GROUP = 64, 2  # a small corpus in many tasks
    main(Config.model_validate(json.loads(Path(sys.argv[1]).read_text())))
