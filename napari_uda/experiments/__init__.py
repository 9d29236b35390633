"""The papers' tables from one spec: cells, statistics, layout and pictures."""
