"""What the package's parts cost on this machine, beside plain references and the machine's own limit."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch's profiler tells standard error of its doings
