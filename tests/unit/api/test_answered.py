from prometheus_client import CollectorRegistry, generate_latest

from api.answered import Answered
from schemas.metrics import METRICS


def test_prometheus_gets_counts_cumulative_buckets_and_sums() -> None:
    answered, registry = Answered(), CollectorRegistry()
    registry.register(answered)
    first, *_, last = METRICS["adamas_http_seconds"].buckets
    for taken_s in (first, first / 2, last, last + 1):
        answered.note("/v1/diamonds", 200, taken_s)
    answered.note("/v1/diamonds", 304, first)
    answered.note("(none)", None, last + 1)
    told = generate_latest(registry).decode().splitlines()
    assert 'adamas_http_requests_total{route="/v1/diamonds",status="200"} 4.0' in told
    assert 'adamas_http_requests_total{route="/v1/diamonds",status="304"} 1.0' in told
    assert 'adamas_http_requests_total{route="(none)",status="None"} 1.0' in told
    for bound, count in ((str(first), 3), (str(last), 4), ("+Inf", 5)):
        assert f'adamas_http_seconds_bucket{{le="{bound}",route="/v1/diamonds"}} {count}.0' in told
    assert 'adamas_http_seconds_count{route="/v1/diamonds"} 5.0' in told
    (total,) = [line for line in told if line.startswith('adamas_http_seconds_sum{route="/v1/diamonds"}')]
    assert float(total.split()[-1]) == 2.5 * first + 2 * last + 1
