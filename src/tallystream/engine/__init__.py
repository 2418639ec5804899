"""Plane-independent steps: each reads, decides and commits once, and is handed its clock."""
