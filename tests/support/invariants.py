"""What must hold of a world whenever it is left in peace, whatever happened to it before.

Reads Postgres and Redis themselves, never the service's own counters. ``watch_closings`` has the
database note every closing as it happens, so that a second one cannot hide behind the first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from tests.support.builders import World
from tests.support.live_sessions import SHARD, Held
from timer_service import keys

_WATCH = """
CREATE TABLE noted_closings (session_id uuid NOT NULL);
CREATE FUNCTION note_closing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO noted_closings VALUES (NEW.id);
  RETURN NULL;
END $$;
-- Every closing raises the version, and nothing else raises that of a closed session unless a late
-- message joins it.
CREATE TRIGGER note_closing AFTER UPDATE ON sessions FOR EACH ROW
WHEN (NEW.state = 'closed' AND NEW.version > OLD.version) EXECUTE FUNCTION note_closing();
CREATE TRIGGER note_reopening AFTER UPDATE ON sessions FOR EACH ROW
WHEN (NEW.state = 'open' AND OLD.state = 'closed') EXECUTE FUNCTION note_closing();
"""
_NEAR_MS = 5_000
"""Between asking Postgres and asking Redis a busy machine may pause."""
_RULES = {
    "a message is stored more than once": """
        SELECT provider_message_id FROM messages
        GROUP BY connection_id, provider_message_id HAVING count(*) > 1""",
    "a contact has more than one open session on a connection": """
        SELECT contact_id FROM sessions WHERE state = 'open'
        GROUP BY connection_id, contact_id HAVING count(*) > 1""",
    "a session counts other messages than it has": """
        SELECT s.id FROM sessions s
        WHERE s.message_count <> (SELECT count(*) FROM messages m WHERE m.session_id = s.id)""",
    "an id belongs to a contact that was merged away": """
        SELECT i.value FROM contact_ids i JOIN contacts k ON k.id = i.contact_id
        WHERE k.merged_into IS NOT NULL""",
    "a session belongs to a contact that was merged away": """
        SELECT s.id FROM sessions s JOIN contacts k ON k.id = s.contact_id
        WHERE k.merged_into IS NOT NULL""",
    "a deadline is not the last touch and the gap": """
        SELECT s.id FROM sessions s JOIN businesses b ON b.id = s.business_id
        WHERE s.deadline_at <> s.last_touch_at + make_interval(secs => b.idle_gap_s)""",
    "a session closed by silence before its deadline": """
        SELECT id FROM sessions WHERE close_reason = 'idle' AND closed_at < deadline_at""",
    "a session is overdue and open": """
        SELECT id FROM sessions WHERE state = 'open' AND deadline_at < clock_timestamp()""",
    "a session closed twice, or never": """
        SELECT s.id FROM sessions s WHERE s.state = 'closed' AND s.close_reason <> 'recovered'
          AND (SELECT count(*) FROM noted_closings c WHERE c.session_id = s.id) <> 1""",
    "a closed session's summary is not done": """
        SELECT id FROM sessions WHERE state = 'closed'
          AND (summary_status IS NULL OR summary_status NOT IN ('done', 'skipped'))""",
    "a summary that is done is not there": """
        SELECT s.id FROM sessions s LEFT JOIN summaries u ON u.session_id = s.id
        WHERE s.summary_status = 'done' AND u.session_id IS NULL""",
    "a summary is of other messages than its session's": """
        SELECT u.session_id FROM summaries u
        WHERE ARRAY(SELECT unnest(u.message_ids) ORDER BY 1)
          <> ARRAY(SELECT m.id FROM messages m WHERE m.session_id = u.session_id ORDER BY 1)""",
    "a summary was overwritten by an earlier attempt's": """
        SELECT s.id FROM sessions s JOIN summaries u ON u.session_id = s.id
        WHERE s.summary_status = 'done' AND u.attempt <> s.summary_attempt""",
    "a callback is not done": "SELECT session_id FROM callback_runs WHERE done_at IS NULL",
}


def watch_closings(world: World) -> None:
    """Note from now on which sessions close, each time they do."""
    world.run(_WATCH)


def violations(
    world: World,
    *,
    messages: Collection[str] = (),
    told_file: Path | None = None,
    has_hung: bool = False,
) -> list[str]:
    """Return what is wrong: nothing, if every duty was done exactly once.

    ``messages`` are the provider's ids of what was acknowledged; ``told_file`` is where callbacks
    wrote the sessions they were told of. ``has_hung``: a process stopped between working out what
    was left of a deadline and telling Redis, so that Redis may know a later one; such a session is
    the sweep's to close.
    """
    return [
        *_wrong_rows(world),
        *_missing(world, messages),
        *_wrong_in_redis(world, may_be_late=has_hung),
        *(_untold(world, told_file) if told_file is not None else ()),
    ]


def not_stored(world: World, messages: Collection[str]) -> list[str]:
    """Return those of the messages that are not stored."""
    stored = {row["name"] for row in world.read("SELECT provider_message_id AS name FROM messages")}
    return [one for one in messages if one not in stored]


def _missing(world: World, messages: Collection[str]) -> Iterator[str]:
    for name in not_stored(world, messages):
        yield f"a message is lost: {name}"


def _wrong_rows(world: World) -> Iterator[str]:
    rules = [
        f"SELECT $${rule}$$ AS rule, CAST(broken.* AS text) AS what FROM ({statement}) AS broken"
        for rule, statement in _RULES.items()
    ]
    for row in world.read(" UNION ALL ".join(rules)):
        yield f"{row['rule']}: {row['what']}"


def _wrong_in_redis(world: World, *, may_be_late: bool) -> Iterator[str]:
    rows = world.read(
        "SELECT id, version, extract(epoch FROM deadline_at - clock_timestamp()) * 1000 AS left_ms "
        "FROM sessions WHERE state = 'open'"
    )
    if world.counted_by_redis() != len(rows):
        yield f"Redis counts {world.counted_by_redis()} open sessions, there are {len(rows)}"
    indexed = world.redis.zcard(keys.active_key(SHARD, world.business_id))
    if indexed != len(rows):
        yield f"the index holds {indexed} sessions, there are {len(rows)} open"
    if world.redis.zcard(keys.claimed_key(SHARD)):
        yield "a claim is not settled"
    for row in rows:
        held = Held(world.redis, world.member(row["id"]))
        version, late_ms = int(held.version or -1), world.redis.pttl(held.live_key)
        late_ms -= float(row["left_ms"])
        if version > row["version"]:
            yield f"Redis holds version {version} of {row['id']}, it is {row['version']}"
        # A touch that was not armed costs an early event, which arms again and closes nothing.
        if (late_ms > _NEAR_MS and not may_be_late) or (
            version == row["version"] and late_ms < -_NEAR_MS
        ):
            yield f"the live key of {row['id']} ends {late_ms:.0f} ms after the deadline"
    live = world.redis.keys(f"{keys.live_prefix(SHARD)}*")
    if len(live) != len(rows):
        yield f"there are {len(live)} live keys, and {len(rows)} open sessions"


def _untold(world: World, told_file: Path) -> Iterator[str]:
    told = set(told_file.read_text().split()) if told_file.exists() else set()
    for row in world.read("SELECT session_id FROM callback_runs"):
        if str(row["session_id"]) not in told:
            yield f"nobody was told that {row['session_id']} closed"
    for row in world.read(
        "SELECT s.id FROM sessions s, close_callbacks c WHERE s.state = 'closed' "
        "AND s.close_reason <> 'replaced' AND NOT EXISTS "
        "(SELECT FROM callback_runs r WHERE r.session_id = s.id AND r.callback_id = c.id)"
    ):
        yield f"no callback was planned for {row['id']}"
