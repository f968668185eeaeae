"""What a run is and where it is started: settings, stages, processes, tracking. The floor of the house."""

import os

# Threads that wait for each other sleep instead of spinning: on a machine that does something else besides, spinning
# made an epoch of HAN take 155 s instead of 21 s (2 cores, load 4, 2026-11). Read when torch is loaded, so set here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
