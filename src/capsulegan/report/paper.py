"""The published figures that ours are put beside: single runs, no spread given.

Jaiswal, AbdAlmageed, Wu, Natarajan: *CapsuleGAN: Generative Adversarial Capsule Network*, 2018,
arXiv:1802.06167, Table 1 (Generative Adversarial Metric) and Table 2 (semi-supervised
classification). The metric's ratios have the convolutional GAN as numerator (Eq. 4 and 5).
"""

from __future__ import annotations

from typing import Final

from capsulegan.training.recipes import BEST

CITATION: Final = "Jaiswal et al. 2018, arXiv:1802.06167"
LINK: Final = "https://arxiv.org/abs/1802.06167"

PAIRS: Final = ("gan:capsulegan", f"gan{BEST}:capsulegan{BEST}")
BATTLE: Final[dict[str, dict[str, float]]] = {  # data -> figure -> ratio
    "mnist": {"r_samples": 0.79, "r_test": 1.0},
    "cifar10": {"r_samples": 1.0, "r_test": 0.72},
}

CLASSIFICATION: Final[dict[str, dict[str, dict[int, float]]]] = {  # data -> model -> labels -> error
    "mnist": {
        "gan": {100: 0.2900, 1000: 0.1539, 10000: 0.0702},
        "capsulegan": {100: 0.2724, 1000: 0.1142, 10000: 0.0531},
    },
    "cifar10": {
        "gan": {100: 0.8305, 1000: 0.7587, 10000: 0.7209},
        "capsulegan": {100: 0.7983, 1000: 0.7496, 10000: 0.7102},
    },
}


def errors_of(data: str, model: str) -> dict[int, float]:
    """Return the printed errors of a model, whatever recipe ours was trained by, by numbers of labels."""
    return CLASSIFICATION.get(data, {}).get(model.removesuffix(BEST), {})


def ratios_of(data: str, pair: str) -> dict[str, float]:
    """Return the printed ratios of a pair, "gan:capsulegan", whatever recipe both of ours were trained by."""
    return BATTLE.get(data, {}) if pair in PAIRS else {}
