"""One rank of a pre-training run: reads its settings from JSON, and trains."""

import json
import sys
from pathlib import Path

from pretrain.train import Config, main

if __name__ == "__main__":
    main(Config.model_validate(json.loads(Path(sys.argv[1]).read_text())))
