"""What AWS has: GPU models, instance types, offerings by region and zone, prices; embedded and dated.

The public names of the catalogue. `models` says what a row means, `storage` reads and looks up, `build` makes
the files from AWS's answers; `data/README.md` has the sources.
"""

from __future__ import annotations

from .models import SERVICES, GpuModel, InstanceType, Offer, Price, Provenance, Quota, ServicePrice
from .storage import Catalog, load_catalog

__all__ = [
    "SERVICES", "Catalog", "GpuModel", "InstanceType", "Offer", "Price", "Provenance", "Quota", "ServicePrice",
    "load_catalog",
]  # fmt: skip
