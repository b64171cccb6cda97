"""The demo: a café's customers, told once (`story`) or without end (`traffic`)."""
