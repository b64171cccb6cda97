"""The only place with SQL, one module per noun. Functions take an open transaction, ``db``.

Every query that serves a tenant names its ``business_id`` in the query itself, and every query of
the hot path uses an index (a test reads ``EXPLAIN``).
"""
