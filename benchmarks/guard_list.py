"""Every guard that keeps a promise, how to take it out, and the tests that must then be red.

A new guard gets a line here in the same change, at the end of its room; `guards` tries them, and a
unit test keeps the texts and the tests' names in step with the source. A test is named by file and
function; where several of a name are in a file, all are run.
"""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA = "migrations/versions/20261121_0001_create_schema.py"
CONTINUE = "migrations/versions/20261121_0003_touch_without_indexes.py"
CLOSE = "migrations/versions/20261121_0004_close_sessions.py"
LUA = "timer_service/lua"
RECORDS = "timer_service/records"


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard. ``changes`` are (text, what to put in its place): each text stands there once."""

    name: str
    keeps: str
    file: str
    changes: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


def _guard(name: str, keeps: str, file: str, old: str, new: str, *tests: str) -> Guard:
    return Guard(name, keeps, file, ((old, new),), tests)


_CLOSING = "tests/integration/test_closing.py"
_INTAKE = "tests/integration/test_intake.py"
_JOBS = "tests/integration/test_summarize_job.py"
_LISTENER = "tests/integration/test_expiry_listener.py"
_MERGE = "tests/integration/test_contacts_merge.py"
_OPEN = "tests/integration/test_open_chats.py"
_REBUILD = "tests/integration/test_rebuild.py"
_SCRIPTS = "tests/integration/test_lua_scripts.py"
_SWEEP = "tests/integration/test_sweeper.py"
_SPOOL = "tests/integration/test_spool.py"
_REPLAY = "tests/faults/test_spool_replay.py"
_ORDER = "tests/faults/test_spool_order.py"
_KEYS = "tests/unit/test_spool_keys.py"
_POSTGRES_AWAY = "tests/faults/test_postgres_away.py"
_REDIS_AWAY = "tests/faults/test_redis_away.py"

_DATABASE = (
    _guard(
        "one-open-index",
        "a contact never has two open sessions on a connection",
        SCHEMA,
        """        "uq_sessions_one_open",
        "sessions",
        ["connection_id", "contact_id"],
        unique=True,
""",
        """        "uq_sessions_one_open",
        "sessions",
        ["connection_id", "contact_id"],
        unique=False,
""",
        "tests/integration/test_migrations.py"
        "::test_one_open_session_per_connection_and_contact_is_the_databases_own_rule",
    ),
    _guard(
        "message-index",
        "a message is one row, whoever brings it at one instant",
        SCHEMA,
        """        sa.UniqueConstraint(
            "connection_id",
            "provider_message_id",
            name=op.f("uq_messages_connection_id_provider_message_id"),
        ),
""",
        "",
        f"{_INTAKE}::test_at_one_instant_from_twenty_senders_it_is_stored_once",
    ),
    _guard(
        "pool-time-out",
        "a request does not wait for a connection",
        "timer_service/database.py",
        "        pool_timeout=wait_s,\n",
        "",
        f"{_POSTGRES_AWAY}::test_a_pool_that_is_used_up_is_not_waited_for_long",
    ),
    _guard(
        "statement-time-out",
        "a request does not wait for a statement",
        "timer_service/database_connection.py",
        "-c statement_timeout={self.statement_ms} ",
        "",
        f"{_POSTGRES_AWAY}::test_a_statement_that_takes_too_long_is_given_up",
    ),
    _guard(
        "idle-transaction-time-out",
        "a hung process holds no lock for long",
        "timer_service/database_connection.py",
        'f"-c idle_in_transaction_session_timeout={self.idle_in_transaction_ms}"',
        '""',
        f"{_POSTGRES_AWAY}::test_a_transaction_left_open_is_ended_by_postgres",
    ),
    _guard(
        "hidden-parameters",
        "what customers wrote stands in no error",
        "timer_service/database.py",
        "hide_parameters=True,",
        "hide_parameters=False,",
        f"{_POSTGRES_AWAY}::test_no_value_of_a_query_stands_in_an_error",
    ),
)
_INTAKE_GUARDS = (
    _guard(
        "dedupe",
        "a redelivery changes nothing",
        "timer_service/intake_batch.py",
        "            if name not in held:\n                fresh.setdefault",
        "            if name:\n                fresh.setdefault",
        f"{_INTAKE}::test_the_same_message_five_times_more_changes_nothing",
    ),
    _guard(
        "overdue-at-arrival",
        "a message after the deadline does not revive the session",
        CONTINUE,
        "AND s.started_at <= now_at AND s.deadline_at > now_at",
        "AND s.started_at <= now_at",
        f"{_OPEN}::test_one_after_the_deadline",
        f"{_INTAKE}::test_an_overdue_session_is_closed_by_the_next_message_which_opens_another",
    ),
    _guard(
        "late-messages",
        "a backlog counts when it was sent and keeps no dead chat alive",
        "timer_service/placement.py",
        "        return message.sent_at\n",
        "        pass\n",
        "tests/unit/test_placement.py::test_one_sent_more_than_a_minute_earlier_counts_at_its_sending",
        "tests/unit/test_placement.py::test_a_late_message_never_makes_a_dead_chat_look_alive",
    ),
    _guard(
        "late-messages-in-sql",
        "continue_sessions leaves a backlog to those who can place it",
        CONTINUE,
        "      OR one.sent_at < now_at - interval '60 s';",
        "      ;",
        f"{_OPEN}::test_one_sent_long_before",
    ),
    _guard(
        "touch-takes-the-latest",
        "a deadline never moves back because a message is placed earlier",
        "timer_service/placement.py",
        "    if draft.is_open:\n        draft.last_touch_at = max(draft.last_touch_at, at)",
        "    if draft.is_open:\n        draft.last_touch_at = at",
        "tests/unit/test_placement.py"
        "::test_a_message_later_than_its_followers_does_not_pull_the_deadline_back",
    ),
    _guard(
        "id-lock-order",
        "opposite batches of new customers do not deadlock",
        f"{RECORDS}/contacts.py",
        '{"keys": sorted({_lock_key(one) for one in missing})}',
        '{"keys": [_lock_key(one) for theirs in ids.values() for one in theirs]}',
        f"{_MERGE}::test_new_ids_are_locked_in_one_order_whoever_names_them_first",
    ),
    _guard(
        "row-lock-order",
        "opposite batches of known customers do not deadlock",
        f"{RECORDS}/contacts.py",
        "WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE",
        "WHERE id = ANY(CAST(:ids AS uuid[])) FOR NO KEY UPDATE",
        f"{_MERGE}::test_contacts_are_locked_in_one_order_however_they_lie",
    ),
    _guard(
        "id-locks",
        "first messages of a customer at one instant make one contact",
        f"{RECORDS}/contacts.py",
        '        db.execute(_LOCK_IDS, {"keys": sorted({_lock_key(one) for one in missing})})\n',
        "",
        f"{_MERGE}::test_forty_first_messages_of_one_customer_make_one_contact_and_one_session",
    ),
    _guard(
        "merged-meanwhile",
        "nothing hangs on a contact that is no more",
        f"{RECORDS}/contacts.py",
        "if any(row.merged_into is not None for row in rows):",
        "if False:",
        f"{_MERGE}::test_an_id_given_to_a_contact_just_merged_away_follows_it",
        f"{_MERGE}::test_merges_and_messages_at_once_leave_one_open_session",
    ),
    _guard(
        "skip-held-contacts",
        "nobody waits for another caller's customer",
        f"{RECORDS}/contacts.py",
        '_LOCK_FREE = text(f"{_LOCK} SKIP LOCKED")',
        "_LOCK_FREE = text(_LOCK)",
        f"{_OPEN}::test_who_comes_together_with_a_held_customer_does_not_wait",
    ),
    _guard(
        "skip-held-contacts-in-sql",
        "continue_sessions waits for nobody",
        CONTINUE,
        "ORDER BY k.id FOR NO KEY UPDATE SKIP LOCKED);",
        "ORDER BY k.id FOR NO KEY UPDATE);",
        f"{_OPEN}::test_one_of_a_customer_somebody_else_holds_who_is_not_waited_for",
    ),
    _guard(
        "group-broken-up",
        "one caller's bad message is only its own trouble",
        "timer_service/intake.py",
        "        except Exception as error:  # noqa: BLE001"
        " - it is one of theirs, and comes again to its own",
        "        except ZeroDivisionError as error:",
        f"{_OPEN}::test_a_message_that_cannot_be_stored_is_only_its_own_callers_trouble",
    ),
    _guard(
        "tries-again",
        "a contact merged meanwhile costs a try, not the message",
        "timer_service/intake.py",
        "MOST_TRIES = 3",
        "MOST_TRIES = 1",
        f"{_MERGE}::test_an_id_given_to_a_contact_just_merged_away_follows_it",
    ),
    _guard(
        "redis-is-no-reason-to-refuse",
        "what is committed is acknowledged though Redis is away",
        "timer_service/follow_up.py",
        "except (RedisUnavailable, DatabaseUnavailable) as error:",
        "except ZeroDivisionError as error:",
        f"{_REDIS_AWAY}::test_messages_are_taken_in_within_a_second_and_counted",
    ),
)
_REDIS_GUARDS = (
    _guard(
        "exists-before-removal",
        "the pacer removes nothing whose live key is there",
        f"{LUA}/pace.lua",
        "if redis.call('EXISTS', live) == 1 then",
        "if false then",
        f"{_SCRIPTS}::test_an_alive_member_is_never_removed_but_follows_its_key",
    ),
    _guard(
        "exists-before-claim",
        "what was touched meanwhile is not claimed",
        f"{LUA}/claim.lua",
        "if redis.call('EXISTS', live) == 1 then",
        "if false then",
        f"{_SCRIPTS}::test_a_session_touched_meanwhile_is_alive_and_the_index_follows_its_key",
    ),
    _guard(
        "claim-not-before-deadline",
        "a deleted or evicted key is no expiry",
        f"{LUA}/claim.lua",
        "if now_ms < deadline_ms then",
        "if false then",
        f"{_SCRIPTS}::test_a_key_deleted_early_is_put_back_for_the_rest_of_its_time",
    ),
    _guard(
        "one-claim",
        "of all who saw the event one closes",
        f"{LUA}/claim.lua",
        "  redis.call('ZREM', active, session)\n",
        "",
        f"{_SCRIPTS}::test_a_second_claim_is_lost_and_changes_nothing",
        "tests/integration/test_live_chats.py::test_of_eight_threads_one_wins_each_claim",
    ),
    _guard(
        "lease",
        "a claim is remembered until it is settled",
        f"{LUA}/claim.lua",
        "  redis.call('ZADD', claimed, now_ms + lease_ms, member)\n",
        "",
        f"{_SCRIPTS}::test_the_winner_learns_the_deadline_and_holds_the_lease",
        f"{_LISTENER}::test_what_postgres_could_not_close_is_offered_again_after_the_lease",
    ),
    _guard(
        "lease-ends",
        "a claim whose holder died is offered again",
        f"{LUA}/pace.lua",
        "'ZRANGE', claimed, '-inf', now_ms,",
        "'ZRANGE', claimed, '-inf', '-inf',",
        f"{_SCRIPTS}::test_a_claim_whose_lease_ended_is_offered_again_and_only_then",
        f"{_LISTENER}::test_what_postgres_could_not_close_is_offered_again_after_the_lease",
    ),
    _guard(
        "take-over",
        "a lost event costs a quarter of a second",
        f"{LUA}/pace.lua",
        "  elseif deadline_ms >= overdue_before_ms then",
        "  else",
        f"{_SCRIPTS}::test_a_gone_member_is_taken_over_after_the_grace_time_and_not_before",
    ),
    _guard(
        "grace",
        "events have their chance before the pacer takes over",
        f"{LUA}/pace.lua",
        "  elseif deadline_ms >= overdue_before_ms then",
        "  elseif false then",
        f"{_SCRIPTS}::test_a_gone_member_is_taken_over_after_the_grace_time_and_not_before",
    ),
    _guard(
        "version-fence",
        "a late call never undoes a later touch",
        f"{LUA}/arm.lua",
        "      if armed_version > version then\n        return 0\n      end\n",
        "",
        f"{_SCRIPTS}::test_a_lower_version_changes_nothing",
    ),
    _guard(
        "arm-settles-the-claim",
        "a session that is armed again is nobody's to close",
        f"{LUA}/arm.lua",
        "  redis.call('ZADD', agenda, 'LT', deadline_ms, business)\n"
        "  redis.call('ZREM', claimed, member)\n",
        "  redis.call('ZADD', agenda, 'LT', deadline_ms, business)\n",
        f"{_SCRIPTS}::test_arming_a_claimed_session_takes_the_claim_back",
    ),
    _guard(
        "rebuild-token",
        "a rebuild that was overtaken arms nothing",
        f"{LUA}/arm.lua",
        "is_fenced = string.sub(found, 1, #building) ~= building",
        "is_fenced = false",
        f"{_SCRIPTS}::test_a_rebuild_arms_only_under_its_own_token",
        f"{_REBUILD}::test_a_rebuild_that_another_overtakes_stops_and_trusts_nothing",
    ),
    _guard(
        "epoch-of-the-count",
        "a Redis that lost anything tells no number",
        f"{LUA}/count.lua",
        "if not run_id or redis.call('GET', epoch) ~= run_id then",
        "if false then",
        f"{_SCRIPTS}::test_no_epoch_a_building_one_or_another_run_is_not_trusted",
        f"{_REBUILD}::test_after_flushall_the_number_comes_from_postgres_until_all_is_back",
    ),
    _guard(
        "epoch-of-the-pacer",
        "lost data is noticed at the next pass",
        f"{LUA}/pace.lua",
        "(run_id and redis.call('GET', epoch) == run_id) and 1 or 0",
        "1",
        f"{_SCRIPTS}::test_it_trusts_only_the_servers_own_run",
    ),
    _guard(
        "epoch-by-compare-and-set",
        "only the last rebuild, under this run, makes Redis trusted",
        f"{LUA}/finish_rebuild.lua",
        "if redis.call('GET', epoch) ~= 'building:' .. token .. ':' .. run_id then",
        "if false then",
        f"{_SCRIPTS}::test_it_finishes_once_and_only_under_the_last_token",
        f"{_REBUILD}::test_a_redis_wiped_in_the_middle_is_not_trusted_afterwards",
    ),
    _guard(
        "asks-again-before-it-counts",
        "a chat closed before it was armed is not counted",
        f"{LUA}/arm.lua",
        "return was_lost and 3 or 1",
        "return 1",
        "tests/integration/test_arming.py"
        "::test_a_session_completed_before_its_touch_is_armed_is_not_counted",
    ),
    _guard(
        "no-hidden-retries",
        "a silent Redis costs the request path its share and no more",
        "timer_service/redis_clients.py",
        "Retry(NoBackoff(), 0)",
        "Retry(NoBackoff(), 1)",
        "tests/unit/test_redis_clients.py"
        "::test_no_client_retries_behind_our_back_or_stretches_its_time_outs",
    ),
    _guard(
        "re-subscription",
        "events lost while the subscription was away are looked for",
        "timer_service/expired_events.py",
        "repeated = self._confirmed > 1",
        "repeated = False",
        f"{_LISTENER}::test_a_subscription_remade_behind_our_back_is_noticed",
    ),
    _guard(
        "silent-subscription",
        "a subscription cut without a word is given up",
        "timer_service/expired_events.py",
        "if now_s - self._heard_at_s > _SILENT_AFTER_S:",
        "if now_s < 0:",
        f"{_LISTENER}::test_a_connection_that_falls_silent_is_given_up",
    ),
)
_CLOSE_GUARDS = (
    _guard(
        "close-condition",
        "an early event closes nothing",
        CLOSE,
        "AND s.state = 'open' AND s.deadline_at <= asked_at",
        "AND s.state = 'open'",
        f"{_CLOSING}::test_one_that_is_not_due_is_armed_again_for_what_is_left",
    ),
    Guard(
        "closed-is-final",
        "a session closes once",
        CLOSE,
        (
            ("WHERE s.id = ANY(ids) AND s.state = 'open' AND", "WHERE s.id = ANY(ids) AND"),
            (
                "WHERE s.id = ANY(ids) AND s.state = 'open'\n    RETURNING",
                "WHERE s.id = ANY(ids)\n    RETURNING",
            ),
        ),
        (f"{_CLOSING}::test_closing_again_does_nothing",),
    ),
    _guard(
        "skip-locked",
        "one held session does not hold up the batch",
        CLOSE,
        "ORDER BY s.id FOR UPDATE SKIP LOCKED)",
        "ORDER BY s.id FOR UPDATE)",
        f"{_CLOSING}::test_one_that_intake_holds_is_left_alone_and_closed_later_if_due",
    ),
    _guard(
        "clock-guard",
        "a step of Postgres's clock closes nothing",
        "timer_service/clock_guard.py",
        "if moved > STEP:",
        "if moved is None:",
        "tests/unit/test_clock_guard.py"
        "::test_a_step_either_way_stops_the_closing_until_it_is_undone",
        f"{_CLOSING}::test_a_step_of_postgres_clock_closes_nothing_until_it_is_undone",
    ),
    _guard(
        "clock-guard-in-the-statement",
        "a step between the reading and the closing closes nothing",
        CLOSE,
        "CASE WHEN asked_at BETWEEN earliest_at AND latest_at THEN ARRAY(",
        "CASE WHEN true THEN ARRAY(",
        f"{_CLOSING}::test_a_step_between_the_reading_and_the_closing_closes_nothing",
    ),
    _guard(
        "rearm-what-was-not-due",
        "an early event does not lose the deadline",
        "timer_service/closing.py",
        "sessions.still_open(db, [one.session_id for one in rest])",
        "[]",
        f"{_CLOSING}::test_one_that_is_not_due_is_armed_again_for_what_is_left",
    ),
    _guard(
        "a-failed-batch-ends-nothing",
        "one batch that cannot be closed does not end the closing",
        "timer_service/closing_queue.py",
        "            except Exception:\n                # One batch",
        "            except KeyError:\n                # One batch",
        "tests/unit/test_closing_queue.py::test_the_loop_outlives_a_batch_that_fails",
    ),
)
_SWEEP_GUARDS = (
    *(
        _guard(
            f"sweep-{name}",
            keeps,
            "timer_service/sweeper.py",
            f'            "{name}": {does},\n',
            "",
            "tests/integration/test_sweeper.py::test_every_pass_finds_its_own",
        )
        for name, does, keeps in (
            ("rebuild", "self.rebuild_once", "a lost Redis comes back"),
            ("overdue", "self.close_overdue_once", "what no event closed is closed"),
            ("opened", "self.arm_opened_once", "what was not armed is armed"),
            ("closed", "self.forget_closed_once", "what is closed is not counted"),
            ("summaries", "self.restart_summaries_once", "a lost job is made again"),
            ("callbacks", "self.restart_callbacks_once", "a lost callback is made again"),
            ("early_changes", "self.apply_early_changes_once", "an edit may overtake its message"),
            ("audit", "self._auditor.audit_once", "what nothing else notices is put right"),
        )
    ),
    _guard(
        "sweep-passes-apart",
        "a pass that fails stops no other",
        "timer_service/sweeper.py",
        '            except Exception:\n                log.exception("sweep_pass_broke"',
        '            except KeyError:\n                log.exception("sweep_pass_broke"',
        f"{_SWEEP}::test_a_pass_that_fails_does_not_stop_the_others",
    ),
    _guard(
        "due-not-before-moves-up",
        "touched chats hide no overdue one from the sweep",
        f"{RECORDS}/session_sweeps.py",
        '        db.execute(_MOVE, {"ids": early})\n',
        "        pass\n",
        f"{_SWEEP}::test_more_than_a_page_of_touched_chats_hides_no_overdue_one",
        f"{_SWEEP}::test_a_touched_chat_is_looked_at_when_it_may_be_due_and_closed_when_it_is",
    ),
    _guard(
        "due-not-before-moves-down",
        "a shorter gap is kept from the next touch on",
        CONTINUE,
        "      due_not_before = least(due_not_before, due_at)\n",
        "      due_not_before = due_not_before\n",
        f"{_OPEN}::test_by_the_short_way",
    ),
    _guard(
        "due-not-before-moves-down-in-a-batch",
        "the same where messages come together",
        f"{RECORDS}/sessions.py",
        "due_not_before = least(due_not_before, new_deadline_at),",
        "due_not_before = due_not_before,",
        f"{_OPEN}::test_by_the_long_way",
    ),
    _guard(
        "watermark-overlap",
        "what was committed out of order is not overlooked",
        "timer_service/sweeper.py",
        "OVERLAP = timedelta(seconds=60)",
        "OVERLAP = timedelta(seconds=0)",
        f"{_SWEEP}::test_it_advances_to_the_time_of_the_sweep_and_reads_back_over_it",
    ),
    _guard(
        "intermediate-queue",
        "a job caught on its way to a worker that died is lost, not waiting",
        "timer_service/job_queue.py",
        "                and job.id not in on_their_way\n",
        "",
        f"{_JOBS}::test_a_job_handed_to_a_worker_that_had_died_is_made_again",
    ),
    _guard(
        "job-is-kept",
        "a job whose id is still known is not forgotten while it waits",
        f"{LUA}/enqueue.lua",
        "  redis.call('PERSIST', job_prefix .. job_id)\n",
        "",
        "tests/integration/test_job_queue.py"
        "::test_a_job_that_is_still_known_is_kept_for_as_long_as_a_new_one",
    ),
    _guard(
        "one-rebuild",
        "of any number of processes one rebuilds",
        "timer_service/rebuild.py",
        "ours = self._take(db, untrusted, builder)",
        "ours = untrusted",
        f"{_REBUILD}::test_of_two_processes_one_rebuilds",
        f"{_REBUILD}::test_while_another_process_is_at_it_nothing_is_done",
    ),
    _guard(
        "rebuild-forgets",
        "what closed while it was rebuilt is not counted afterwards",
        "timer_service/rebuild.py",
        "[one for one in closed if shard_of(one.business_id, self._shards) in shards]",
        "[]",
        f"{_REBUILD}::test_one_that_was_closed_while_it_was_rebuilt_is_gone_before_redis_is_trusted",
    ),
    _guard(
        "audit-asks-twice",
        "the audit arms nothing that has closed meanwhile",
        "timer_service/audit.py",
        "still = sessions.still_open(db, [SessionId(one.session_id) for one in missing])",
        "still = [one for one in self._open.sessions if one.member in missing]",
        "tests/integration/test_audit.py::test_one_that_closed_between_the_two_looks_is_not_armed",
    ),
)
_JOB_GUARDS = (
    _guard(
        "attempt-at-start",
        "a superseded job does not even begin",
        f"{RECORDS}/summaries.py",
        "AND s.summary_attempt = :attempt AND s.state = 'closed'",
        "AND s.state = 'closed'",
        f"{_JOBS}::test_a_superseded_attempt_does_not_even_begin",
    ),
    _guard(
        "summary-by-compare-and-set",
        "a summary is stored once, whoever is late",
        f"{RECORDS}/summaries.py",
        """            WHERE id = :id AND summary_attempt = :attempt
              AND summary_status IN ('running', 'pending')""",
        "            WHERE id = :id",
        f"{_JOBS}::test_an_attempt_superseded_while_the_model_thinks_stores_nothing",
        f"{_JOBS}::test_two_workers_with_one_attempt_store_once",
    ),
    _guard(
        "stored-only-if-it-may",
        "who is late overwrites no summary",
        "timer_service/summarize_job.py",
        "            if stored:\n",
        "            if True:\n",
        f"{_JOBS}::test_an_attempt_superseded_while_the_model_thinks_stores_nothing",
    ),
    _guard(
        "summary-lease",
        "a worker that dies is noticed",
        f"{RECORDS}/summaries.py",
        """SET summary_status = 'running',
                  next_check_at = clock_timestamp() + CAST(:lease AS interval)""",
        "SET summary_status = 'running'",
        f"{_JOBS}::test_a_worker_that_dies_leaves_a_row_that_the_sweep_finds",
        f"{_SWEEP}::test_a_worker_that_died_is_noticed_when_its_lease_ends",
    ),
    _guard(
        "one-new-attempt",
        "two sweeps at once make one attempt",
        f"{RECORDS}/summaries.py",
        "WHERE sessions.id = old.id AND sessions.summary_attempt = old.attempt",
        "WHERE sessions.id = old.id",
        f"{_SWEEP}::test_one_that_moved_meanwhile_is_left_alone",
    ),
    _guard(
        "leaves-the-working-alone",
        "a sweep begins nothing again that a worker took up meanwhile",
        f"{RECORDS}/summaries.py",
        "              AND sessions.next_check_at <= clock_timestamp()\n",
        "",
        f"{_SWEEP}::test_one_whose_worker_began_meanwhile_is_left_alone",
    ),
    _guard(
        "own-messages-only",
        "a summary reads its own session's messages",
        f"{RECORDS}/messages.py",
        "WHERE session_id = :session_id AND business_id = :business_id {condition}",
        "WHERE business_id = :business_id {condition}",
        f"{_JOBS}::test_the_summarizer_reads_this_session_only_and_in_order",
    ),
    _guard(
        "callback-once",
        "a callback's job that runs again calls nobody",
        f"{RECORDS}/callbacks.py",
        "                  AND r.attempt = :attempt AND r.done_at IS NULL\n"
        "                  AND c.id = r.callback_id",
        "                  AND c.id = r.callback_id",
        "tests/integration/test_callbacks.py::test_a_job_that_runs_again_calls_nobody",
        "tests/integration/test_callbacks.py::test_a_superseded_attempt_calls_nobody",
    ),
)
_DOOR_GUARDS = (
    _guard(
        "signature",
        "what the gateway did not sign is refused",
        "timer_service/providers/proof.py",
        "    return hmac.compare_digest(\n",
        "    return True or hmac.compare_digest(\n",
        "tests/contract/test_meta.py::test_a_signature_vector_is_judged_as_stated",
        "tests/web/test_webhooks.py::test_meta_without_proof_is_401_and_stores_nothing",
    ),
    _guard(
        "constant-time",
        "how long a refusal takes tells nothing of the secret",
        "timer_service/providers/proof.py",
        """    return hmac.compare_digest(
        expected.encode("utf-8", "surrogatepass"), offered.encode("utf-8", "surrogatepass")
    )""",
        "    return expected == offered",
        "tests/unit/test_proof.py::test_secrets_are_compared_in_constant_time",
    ),
    _guard(
        "empty-secret",
        "an empty secret proves nothing",
        "timer_service/providers/proof.py",
        "or not isinstance(offered, str) or not expected:",
        "or not isinstance(offered, str):",
        "tests/unit/test_proof.py::test_an_empty_secret_is_nobodys",
    ),
    _guard(
        "body-limit",
        "a body over 4 MB is refused",
        "http/timer_http/request_body.py",
        "    if len(body) > MAX_BODY_BYTES:\n        raise RequestEntityTooLarge\n",
        "",
        "tests/web/test_web_server.py::test_a_body_whose_length_nobody_tells_is_cut_off_at_4_mb",
        "tests/web/test_webhooks.py::test_a_body_over_4_mb_is_413_before_anything_else",
    ),
    _guard(
        "tenant-filter",
        "another business's session is not found",
        f"{RECORDS}/session_views.py",
        "WHERE s.id = :id AND s.business_id = :business_id",
        "WHERE s.id = :id",
        "tests/web/test_tenancy.py::test_anothers_ids_are_404_everywhere_and_nothing_changes",
    ),
    _guard(
        "tenant-filter-of-lists",
        "a list holds own rows only",
        f"{RECORDS}/session_views.py",
        'conditions = ["s.business_id = :business_id"]',
        'conditions = ["true"]',
        "tests/web/test_tenancy.py::test_lists_hold_own_rows_only",
    ),
    _guard(
        "one-apps-numbers",
        "one shop's secret does nothing to another's number",
        "http/timer_http/webhook_proof.py",
        "            apps.setdefault(app_secret, {})[connection.external_id] = connection",
        "            apps.setdefault(app_secret, {})[connection.external_id] = connection\n"
        "            for one in apps.values():\n"
        "                one[connection.external_id] = connection",
        "tests/web/test_webhooks.py::test_one_shops_secret_does_nothing_to_anothers_number",
    ),
    _guard(
        "sealed-for-one",
        "a ciphertext opens for its own connection only",
        "timer_service/secret_box.py",
        "!= (str(business_id), str(connection_id)):",
        "== ():",
        "tests/integration/test_secret_box.py"
        "::test_a_ciphertext_copied_to_another_row_does_not_open",
    ),
    _guard(
        "other-sites",
        "another site cannot press a button",
        "http/timer_http/origin.py",
        "    if is_cross_origin():\n",
        "    if request.method is None:\n",
        "tests/web/test_rq_pages.py::test_another_site_cannot_press_a_button",
    ),
)

_SPOOL_GUARDS = (
    _guard(
        "spool-fsync",
        "what a spool took survives a power cut",
        f"{RECORDS}/spool_file.py",
        'db.execute("PRAGMA synchronous = FULL")',
        'db.execute("PRAGMA synchronous = NORMAL")',
        f"{_SPOOL}::test_every_commit_is_on_the_disk_when_it_returns",
    ),
    _guard(
        "spool-folder-fsync",
        "so does the file itself",
        "timer_service/spool.py",
        "            os.fsync(folder)\n",
        "            pass\n",
        "tests/faults/test_kill_points.py::test_the_calls_are_those_of_each_kind",
    ),
    _guard(
        "spool-bound",
        "a spool leaves the disk room for others",
        "timer_service/spool.py",
        "if size > min(room, free):",
        "if size < 0:",
        f"{_SPOOL}::test_beyond_its_bound_it_refuses_and_takes_again_when_there_is_room",
        f"{_SPOOL}::test_it_leaves_the_disk_room_for_others",
    ),
    _guard(
        "replay-in-order",
        "what waited is replayed in the order it came",
        f"{RECORDS}/spool_file.py",
        '"ORDER BY seq LIMIT ?",',
        '"ORDER BY seq DESC LIMIT ?",',
        f"{_SPOOL}::test_what_was_appended_is_taken_in_its_order_and_deleted_when_it_is_done",
    ),
    _guard(
        "replay-one-arrival-at-once",
        "two visits of a customer in one batch are two sessions",
        "timer_service/intake_batch.py",
        "                and all(arrivals.get(chat, since) == since for chat in chats)\n",
        "",
        f"{_REPLAY}"
        "::test_a_new_customers_two_visits_are_two_sessions_though_they_come_in_one_batch",
    ),
    _guard(
        "replay-at-its-receipt",
        "what waited counts when it came, not when it is replayed",
        "timer_service/placement.py",
        "return self.now if self.waited_since is None else min(self.waited_since, self.now)",
        "return self.now",
        f"{_REPLAY}::test_a_chat_that_went_on_while_postgres_was_away_is_one_session",
        f"{_REPLAY}::test_chats_that_ended_meanwhile_end_when_they_did",
    ),
    _guard(
        "dedupe-at-replay",
        "what was stored and not deleted from the spool is stored once",
        "timer_service/intake_batch.py",
        "            if name not in held:\n                fresh.setdefault",
        "            if name:\n                fresh.setdefault",
        f"{_REPLAY}::test_a_replayer_that_dies_between_commit_and_delete_stores_nothing_twice",
    ),
    _guard(
        "replay-counts-deaths",
        "what kills whoever replays it does so three times and no more",
        "timer_service/spool.py",
        "            spool_file.count_try(db, (row.seq for row in taken), 1)\n",
        "",
        f"{_REPLAY}::test_what_kills_whoever_replays_it_is_set_aside_without_another_death",
    ),
    _guard(
        "one-replayer",
        "one process of a host replays, so in one order",
        "timer_service/spool.py",
        "        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "        pass\n",
        f"{_REPLAY}::test_one_process_of_a_host_replays",
    ),
    _guard(
        "announce-first",
        "what waits is announced before anything else is waited for",
        "timer_service/spool_replay.py",
        "            self._announce(self._spool)\n            if",
        "            if",
        f"{_REPLAY}::test_what_waits_is_announced_while_postgres_is_still_away",
    ),
    _guard(
        "announce-before-acknowledging",
        "closers know what waits in a spool before its gateway may forget it",
        "timer_service/spool_replay.py",
        "            self._announcements.say(self._spool.id, oldest_at)\n",
        "",
        f"{_REPLAY}::test_what_is_kept_is_announced_before_it_is_acknowledged",
    ),
    _guard(
        "withdraw-what-was-read",
        "withdrawing an empty spool does not hide what another process just put into it",
        "timer_service/lua/withdraw.lua",
        "if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then",
        "if ARGV[1] == nil then",
        f"{_REPLAY}::test_what_comes_while_the_empty_spool_is_withdrawn_stays_announced",
    ),
    _guard(
        "close-no-locked-file",
        "looking at callers drops none of the locks that keep two processes out of one log",
        "timer_service/slow_senders.py",
        "            if not _is_socket(int(one.name)):\n                continue\n"
        "            descriptor = os.dup(int(one.name))\n",
        "            descriptor = os.dup(int(one.name))\n"
        "            if not _is_socket(descriptor):\n                os.close(descriptor)\n"
        "                continue\n",
        "tests/faults/test_slow_senders.py::test_looking_at_callers_drops_no_lock_on_a_file",
    ),
    _guard(
        "closers-wait-for-spools",
        "nothing is closed that a spool's message continues",
        "timer_service/closing.py",
        "closable = ids if until is None else sessions.due_by(db, ids, until)",
        "closable = ids",
        f"{_REPLAY}::test_what_is_due_after_the_oldest_receipt_is_left_alone_until_it_is_replayed",
    ),
    _guard(
        "closers-wait-after-an-outage",
        "every host has announced itself before anything is closed",
        "timer_service/spool_announcements.py",
        "return NOTHING if self._steady_s() < self._settled_at_s else held_after",
        "return held_after",
        f"{_REPLAY}::test_after_postgres_was_away_closers_wait_for_announcements",
    ),
    _guard(
        "intake-waits-for-spools",
        "nor does the next message close what another host's spool continues",
        "timer_service/intake_batch.py",
        "min(arrivals[chat], self._held_after or arrivals[chat])",
        "arrivals[chat]",
        f"{_REPLAY}::test_intake_closes_nothing_that_another_hosts_spool_may_continue",
    ),
    _guard(
        "no-overtaking-in-a-chat",
        "a customer's second message does not overtake the first in the spool",
        "timer_service/spool_replay.py",
        "                and not self._spool.must_precede(connection_id, events)\n",
        "",
        f"{_ORDER}::test_a_customer_of_whom_something_waits_queues_until_it_is_replayed",
        f"{_ORDER}::test_a_status_waits_for_its_message_and_the_later_edit_counts",
    ),
    _guard(
        "no-overtaking-under-another-id",
        "nor does it where only Postgres knows that the customer is the same",
        "timer_service/spool_keys.py",
        "        yield from _OF_OTHER_KINDS[kinds]\n",
        "        pass\n",
        f"{_ORDER}::test_who_is_known_to_postgres_by_another_kind_of_id_queues_too",
        f"{_KEYS}::test_these_wait",
    ),
    _guard(
        "no-asking-while-unheard",
        "past what waits Postgres is asked only where it was heard of just now",
        "timer_service/spool_replay.py",
        "                self._hears_postgres()\n                and not",
        "                not",
        f"{_ORDER}::test_where_nothing_was_heard_of_postgres_nobody_asks_it",
    ),
    _guard(
        "one-asks-past-the-spool",
        "where Postgres answers and stores nothing, not every webhook waits to find out",
        "timer_service/spool_replay.py",
        "                and self._bypass.may_call()\n",
        "",
        f"{_ORDER}::test_where_postgres_answers_and_stores_nothing_one_finds_out_for_all",
    ),
    _guard(
        "merge-waits-for-the-spool",
        "who passes the spool merges away no session that it continues",
        "timer_service/intake_batch.py",
        "(self._closable_until, self._held_here())",
        "(self._closable_until,)",
        f"{_ORDER}::test_a_merge_past_the_spool_closes_nothing_that_waits_in_it",
    ),
    _guard(
        "rows-without-keys",
        "everybody queues behind what the version before spooled",
        f"{RECORDS}/spool_file.py",
        "SELECT EXISTS (SELECT 1 FROM spooled WHERE parked = 0 AND keys IS NULL) OR EXISTS (",
        "SELECT EXISTS (",
        f"{_SPOOL}::test_everybody_queues_behind_what_the_version_before_spooled",
    ),
    _guard(
        "set-aside-holds-up-nobody",
        "what was set aside holds nobody up",
        f"{RECORDS}/spool_file.py",
        "ON s.seq = k.seq WHERE s.parked = 0)",
        "ON s.seq = k.seq)",
        f"{_SPOOL}"
        "::test_what_waits_precedes_its_own_customer_only_and_what_is_set_aside_precedes_nobody",
    ),
)

GUARDS: tuple[Guard, ...] = (
    *_DATABASE,
    *_INTAKE_GUARDS,
    *_REDIS_GUARDS,
    *_CLOSE_GUARDS,
    *_SWEEP_GUARDS,
    *_JOB_GUARDS,
    *_DOOR_GUARDS,
    *_SPOOL_GUARDS,
)
