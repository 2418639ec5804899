"""
The HTTP side: events in, queries, live changes, the dashboard. It serves whichever ports it is handed.

The frame: site with app, where events are counted (which path is whose), or with remote, where that happens elsewhere; services
(what it is handed), server, protocol (a short way for one small event), auth and session, errors, pages, parameters, paths.

Events in: ingest, bodies and formats (what producers send → lines), group_commit, backlog.

Answers: query and answer, csv_export, rejected, status, metrics, live; of alarms: alarms and alarm_answers, alarm_chart and
alarm_backtest with alarm_series. Their JSON: answer_types, alarm_types; openapi describes it, with operation and
alarm_operations.
"""
