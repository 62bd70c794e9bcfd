"""Fixtures that every folder of tests may use."""

from tests.engines import engine_kind, engines, region, settle, shared_region, shared_regions

__all__ = ["engine_kind", "engines", "region", "settle", "shared_region", "shared_regions"]
