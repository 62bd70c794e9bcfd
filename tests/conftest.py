"""Fixtures that every folder of tests may use, and how Hypothesis runs in all of them."""

from hypothesis import settings

from tests.engines import engine_kind, engines, region, settle, shared_region, shared_regions

__all__ = ["engine_kind", "engines", "region", "settle", "shared_region", "shared_regions"]

# A property is true or false; how long a machine takes to say so depends on what else it does.
settings.register_profile("situs", deadline=None)
settings.load_profile("situs")
