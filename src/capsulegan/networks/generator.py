"""The generator, one for all models."""

from __future__ import annotations

from torch import Tensor, nn

from capsulegan.networks.shapes import check_image_shape, halvings


class Generator(nn.Module):
    """Transposed convolutions from latents to images (Radford et al., *DCGAN*, 2016).

    A linear layer gives a small map (7x7 for 28 pixels, 4x4 for 8, 16, 32, 64 and 128), each further
    layer doubles its size and halves its channels: batch norm and ReLU between, tanh at the end.
    Weights start as N(0, 0.02), batch-norm gains as N(1, 0.02).

    Parameters
    ----------
    image_size : int
        Width and height in pixels: a multiple of 4 from 8 to 128.
    channels : int
        1 (grey) or 3 (RGB).
    latent_dim : int
        Length of the latent vectors.
    width : int
        Channels of the last hidden map.

    Raises
    ------
    ValueError
        If no such image can be made.
    """

    def __init__(self, image_size: int, channels: int = 1, latent_dim: int = 100, width: int = 64) -> None:
        super().__init__()
        check_image_shape(image_size, channels)
        self.image_size, self.channels, self.latent_dim = image_size, channels, latent_dim
        doublings = halvings(image_size)
        base = image_size >> doublings
        maps = width << max(doublings - 1, 1)
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, maps * base * base, bias=False),
            nn.Unflatten(1, (maps, base, base)),
            nn.BatchNorm2d(maps),
            nn.ReLU(),
        ]
        for _ in range(doublings - 1):
            layers += [
                nn.ConvTranspose2d(maps, maps // 2, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(maps // 2),
                nn.ReLU(),
            ]
            maps //= 2
        layers += [nn.ConvTranspose2d(maps, channels, 4, stride=2, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(initialize_dcgan)

    def forward(self, latents: Tensor) -> Tensor:
        """Return images in [-1, 1]: (B, latent_dim) -> (B, channels, image_size, image_size)."""
        images: Tensor = self.layers(latents)
        return images


def initialize_dcgan(module: nn.Module) -> None:
    """Draw a module's initial weights as Radford et al. (2016), section 3: N(0, 0.02)."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)
        nn.init.zeros_(module.bias)
