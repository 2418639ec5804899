"""The HTTP side: takes events in, answers queries, pushes changes, serves the dashboard. It is handed the ports that it serves."""
