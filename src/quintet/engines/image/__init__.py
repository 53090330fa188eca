"""Pictures and animations by diffusers: one loaded model, one painting thread, our own queue in front."""

import os

# Nothing here asks the hub for anything: what a model needs lies in its folder.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
