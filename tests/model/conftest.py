"""How hypothesis goes about it: the same steps each time, with bounds, unless you say otherwise.

`pytest tests/model --hypothesis-profile=explore` tries other steps, and many more.
"""

from __future__ import annotations

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # it has no wheel for every build
    collect_ignore_glob = ["*"]
else:
    _COMMON = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
    settings.register_profile(
        "bounded", _COMMON, derandomize=True, max_examples=150, stateful_step_count=60
    )
    settings.register_profile("explore", _COMMON, max_examples=2000, stateful_step_count=60)

    @pytest.fixture(autouse=True)
    def _profile(request: pytest.FixtureRequest) -> None:
        if not request.config.getoption("--hypothesis-profile", default=None):
            settings.load_profile("bounded")
