"""What all tests share: the same Hypothesis examples in every run, without a time limit for a single one."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("flagmw", derandomize=True, deadline=None, max_examples=100, print_blob=False)
settings.load_profile("flagmw")
