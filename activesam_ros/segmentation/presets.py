"""What the preset ``fast`` sets, beside the eight-bit network of sam3/acceleration/quantized.py."""

from __future__ import annotations

from activesam_ros.settings import Settings

# docs/performance.md has what each part costs and gains.
FUSION_DENSITY = 0.4


def effective(settings: Settings) -> Settings:
    """``settings`` with what their preset says of them; the others stay."""
    if settings.preset == "exact":
        return settings
    return settings.replace({"fusion_density": min(settings.fusion_density, FUSION_DENSITY)})
