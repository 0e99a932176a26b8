"""What requests of runs whose logs have times and types of their own look like."""

import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from otto_gpu.events.incoming import Reader
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from otto_gpu.serve.examples import own_time
from otto_gpu.serve.limits import Limits
from otto_gpu.serve.messages import columns_of, messages_of, told_unit

TYPES = {"view": "clicks", "basket": "carts", "remove_from_cart": None}


def read(events: list[dict], config: EventsConfig):
    """As the service does."""
    asked = TypeAdapter(messages_of(config, TargetsConfig(), Limits(), 20).recommend).validate_python({"events": events})
    return Reader(pa.array([1, 2]), config, TargetsConfig()).read(columns_of([asked.events], config).table(), [0])


def test_rows_of_types_that_the_log_leaves_out_are_left_out():
    config = EventsConfig(types=TYPES)
    events = [{"aid": 1, "ts": 5, "type": "view"}, {"aid": 2, "ts": 6, "type": "remove_from_cart"}]
    found = read(events, config)
    assert found.log.aid.tolist() == [0] and len(found) == 1 and not found.unknown.any()
    assert len(read(events[1:], config)) == 1, "its session is asked all the same"
    with pytest.raises(ValidationError, match="'basket' or 'remove_from_cart'"):
        read([{"aid": 1, "ts": 5, "type": "page"}], config)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "+05:30"])
def test_times_in_the_logs_own_format(zone):
    config = EventsConfig(ts_format="%d.%m.%Y %H:%M:%S", timezone=zone)
    assert (told_unit(config), told_unit(EventsConfig(ts_unit="s"))) == ("text", "s")
    moment = 1_793_876_400_000  # 2026-11-05 11:00 UTC
    assert own_time(moment, config) == {"UTC": "05.11.2026 11:00:00", "+05:30": "05.11.2026 16:30:00"}.get(
        zone, "05.11.2026 12:00:00"
    )
    found = read([{"aid": 1, "ts": own_time(moment, config), "type": "clicks"}], config)
    assert found.log.ts.tolist() == [moment]
    with pytest.raises(ValidationError):
        read([{"aid": 1, "ts": moment, "type": "clicks"}], config)
