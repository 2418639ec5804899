"""
The pure core: data and `now_ms` in, decisions out. No I/O, clock, randomness, logging or threads.

An event: event (bytes → fields or a rejection), event_time, group, expression (`where`), window, counting (the hot path: a
batch → a tally), chunk_tally (one that is stored with its lines), aggregate, comparison (of what is stored with a recount).

What is asked: query, relative_time, series (cells → datapoints).

Alarms: alarm (what one is), condition and baseline (when a datapoint breaches), evaluation (which state datapoints make),
composite, mute, channel, backtest, alarm_text, alarm_chart.

The definition: definition is what the others work with. definition_text makes it of a text, by way of reading (every mistake at
once), document (the shape of the tables), setting (what a value may be) and relation (what values say about each other);
alarm_definition, alarm_document, alarm_setting and alarm_relations are the same for alarms, alarm_edit tries other values.

For all: errors, printable, clock.
"""
