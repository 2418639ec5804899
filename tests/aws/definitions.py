"""Definitions for tests of what becomes of them on AWS."""

# Everything that CloudWatch does in its own way or not at all, and names that are hard to quote.
EVERYTHING = """
name = "shop"
[stream]
event_time = "t"
shards = 3
retention = "90m"
[[counter]]
name = "events"
group_by = ["event", "user.pl'an ${x}"]
windows = ["10s", "1m", "15m", "1h"]
measures = ["count", "sum(amount)", "min(amount)", "mean(amount)"]
keep = "90d"
[[counter]]
name = "all"
windows = ["15s"]
[[alarm]]
name = "low"
description = "less ${than} usual"
counter = "events"
window = "15m"
measure = "sum(amount)"
group = { event = "page ${view}", "user.pl'an ${x}" = "Zürich" }
comparison = "<"
threshold = 5.25
clear_threshold = 7
delay = "1m"
evaluation_periods = 3
datapoints_to_alarm = 2
treat_missing_data = "breaching"
notify = ["ops", "chat"]
[[alarm]]
name = "high"
counter = "events"
window = "1h"
measure = "mean(amount)"
group = { event = "a", "user.pl'an ${x}" = "b" }
comparison = ">"
threshold = 5
[[alarm]]
name = "early"
counter = "events"
window = "1h"
group = { event = "a", "user.pl'an ${x}" = "b" }
comparison = ">"
threshold = 5
[[alarm]]
name = "rel"
counter = "events"
window = "1h"
group = { event = "a", "user.pl'an ${x}" = "b" }
comparison = ">"
threshold_percent = 50
baseline = "7d"
[[alarm]]
name = "band"
counter = "events"
window = "1h"
group = { event = "a", "user.pl'an ${x}" = "b" }
comparison = "outside"
band = 3
[[alarm]]
name = "each"
counter = "events"
window = "1m"
group_by = "each"
comparison = ">"
threshold = 5
[[alarm]]
name = "sys"
system = "disk_free_percent"
comparison = "<"
threshold = 5
[[alarm]]
name = "both"
when = "low and not (high or low)"
notify = ["ops"]
[[alarm]]
name = "gone"
when = "low and each"
[[notify]]
name = "ops"
type = "email"
to = ["a@example.com", "b@example.com"]
from = "b@example.com"
host = "localhost"
[[notify]]
name = "chat"
type = "slack"
url_env = "HOOK"
[[mute]]
name = "nights"
from = "22:00"
to = "06:00"
timezone = "Europe/London"
"""
