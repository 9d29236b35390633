"""How the tests are spread over processes."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("number", [1, 2])
def test_the_tests_of_a_file_share_a_process(number: int, request: pytest.FixtureRequest) -> None:
    """Or each process makes the fixtures of the file anew, trainings among them."""
    if not request.config.getoption("loadgroup", None):
        pytest.skip("needs -n 2 --dist loadgroup, which make test gives")
    assert request.node.nodeid.endswith(f"[{number}]@test_parallel.py")
