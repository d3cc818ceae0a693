"""Images to learn from: digits, MNIST, CIFAR-10, Stacked MNIST, a folder of images, an .npz."""

from capsulegan.data.images import ImageData
from capsulegan.data.loading import fetch, load_data

__all__ = ["ImageData", "fetch", "load_data"]
