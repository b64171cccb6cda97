"""`python -m timer_service` is the `timer-service` command."""

from timer_service.cli import main

main()
