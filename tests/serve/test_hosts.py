import pytest

from otto_gpu.serve.hosts import names_of
from tests.serve.service import serving

LOCAL = {"localhost", "127.0.0.1", "::1"}


@pytest.mark.parametrize(
    ("host", "bound", "allowed", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", [], LOCAL),
        ("::1", "::1", [], LOCAL),
        ("Here.example", "127.0.1.1", [], LOCAL | {"here.example"}),
        ("0.0.0.0", "0.0.0.0", [], None),
        ("fe80::1%eth0", "fe80::1%eth0", [], None),
        ("0.0.0.0", "0.0.0.0", ["Shop.example"], LOCAL | {"0.0.0.0", "shop.example"}),
    ],
)
def test_names(host, bound, allowed, expected):
    assert names_of(host, bound, allowed) == expected


def test_a_proxys_name_may_be_allowed(run_dir):
    with serving(run_dir, "--allow-host", "Shop.example") as service:
        by = {name: service.ask("GET", "/health", headers={"host": name}) for name in ("shop.EXAMPLE:443", "evil.example")}
        assert by["shop.EXAMPLE:443"].status == service.get("/health").status == 200
        refused = by["evil.example"]
        assert refused.status == 421 and "--allow-host" in refused.json["error"] and refused.json["where"] is None
        assert refused.headers["connection"] == "close"
