"""The HTTP side: events in, queries, live changes, the dashboard. It serves whichever ports it is handed."""
