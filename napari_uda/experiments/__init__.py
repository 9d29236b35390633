"""The tables of papers from one file: plan of cells, running them, statistics, tables and pictures."""
