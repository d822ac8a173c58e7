"""Faust tables of Certes and their SQLite store."""
