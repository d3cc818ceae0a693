"""Which image sizes the package takes."""

SMALLEST, LARGEST, STEP = 8, 128, 4
SIZES = f"a multiple of {STEP} from {SMALLEST} to {LARGEST} pixels"
"""Images are square, and so wide."""


def is_image_size(pixels: int) -> bool:
    """Return whether images may be that wide."""
    return SMALLEST <= pixels <= LARGEST and pixels % STEP == 0
