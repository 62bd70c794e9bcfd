"""Fixtures that every folder of tests may use."""

from tests.engines import engine_kind, engines, region, settle

__all__ = ["engine_kind", "engines", "region", "settle"]
