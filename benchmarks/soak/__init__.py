"""`./run bench soak`: thousands of customers write while faults strike; then a checker judges.

`schedule` says what happens when (from the seed alone), `deployment` keeps the processes, `faults`
strikes them, `driver` posts as gateways do and keeps the `history`, `fakes` are the model and the
receiver of closes, `counts` reads the active count, `evidence` reads Postgres, `checker` judges by
all of it, `baseline` does the same to plain RQ with keyspace notifications, `soak` runs it.
"""
