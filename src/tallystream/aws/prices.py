"""
What AWS charges, in US dollars, on demand, without free tiers and discounts: the one place to bring up to date.

As they were in the month of AS_OF. Other regions differ by up to a quarter; add yours from AWS's price pages.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

AS_OF: Final = "2026-06"


class Prices(NamedTuple):
    """The prices of a region."""

    kinesis_shard_hour: float
    kinesis_put_unit_million: float  # a unit is 25 KB of a record
    kinesis_extended_shard_hour: float  # retention over a day, up to seven
    kinesis_long_term_gb_month: float  # retention over seven days
    lambda_request_million: float
    lambda_arm64_gb_second: float
    lambda_x86_64_gb_second: float
    dynamodb_write_million: float  # a unit is 1 KB
    dynamodb_read_million: float  # a unit is 4 KB, strongly consistent
    dynamodb_storage_gb_month: float
    cloudwatch_metric_tiers: tuple[tuple[float, float], ...]  # (so many metrics, each at) in turn; the last for all further
    cloudwatch_put_thousand: float
    cloudwatch_alarm: float
    cloudwatch_fine_alarm: float  # periods under a minute
    cloudwatch_composite_alarm: float
    cloudwatch_dashboard: float
    cloudwatch_logs_gb: float
    secret: float


_US: Final = Prices(
    kinesis_shard_hour=0.015,
    kinesis_put_unit_million=0.014,
    kinesis_extended_shard_hour=0.020,
    kinesis_long_term_gb_month=0.023,
    lambda_request_million=0.20,
    lambda_arm64_gb_second=0.0000133334,
    lambda_x86_64_gb_second=0.0000166667,
    dynamodb_write_million=0.625,
    dynamodb_read_million=0.125,
    dynamodb_storage_gb_month=0.25,
    cloudwatch_metric_tiers=((10_000, 0.30), (240_000, 0.10), (750_000, 0.05), (float("inf"), 0.02)),
    cloudwatch_put_thousand=0.01,
    cloudwatch_alarm=0.10,
    cloudwatch_fine_alarm=0.30,
    cloudwatch_composite_alarm=0.50,
    cloudwatch_dashboard=3.00,
    cloudwatch_logs_gb=0.50,
    secret=0.40,
)

PRICES: Final[Mapping[str, Prices]] = {"us-east-1": _US, "us-east-2": _US, "us-west-2": _US}
