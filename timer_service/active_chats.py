"""The active-chats number and a page of those chats.

Counted by Redis in one call; where Redis cannot tell (away, or being rebuilt) by Postgres's partial
index instead: slower, never wrong.
"""

from __future__ import annotations

import structlog

from timer_service.database import Database
from timer_service.errors import RedisUnavailable
from timer_service.ids import BusinessId
from timer_service.live_chats import ActivePage, LiveChats
from timer_service.records import session_views, sessions
from timer_service.resources import ActiveChat, ActiveChats

log = structlog.get_logger(__name__)


class ActiveChatsReader:
    """Reads what is active now."""

    def __init__(self, database: Database, live_chats: LiveChats) -> None:
        self._database = database
        self._live_chats = live_chats

    def count(self, business_id: BusinessId) -> int:
        """Return how many chats are active.

        Raises:
            DatabaseUnavailable: neither Redis nor Postgres can tell.
        """
        page = self._ask_redis(business_id, limit=0)
        if page is not None:
            return page.count
        with self._database.transaction() as db:
            return sessions.count_active(db, business_id)

    def read(self, business_id: BusinessId, limit: int) -> ActiveChats:
        """Return the number and up to ``limit`` chats, latest deadline first.

        Raises:
            DatabaseUnavailable: the chats' details, or both numbers, cannot be had.
        """
        page = self._ask_redis(business_id, limit=limit)
        with self._database.transaction() as db:
            if page is None:
                count = sessions.count_active(db, business_id)
                rows = list(session_views.list_active(db, business_id, limit=limit))
            else:
                count = page.count
                wanted = [session_id for session_id, _ in page.chats]
                found = session_views.get_many(db, business_id, wanted) if wanted else {}
                rows = [found[one] for one in wanted if one in found]
        chats = [
            ActiveChat(**{name: row[name if name != "session_id" else "id"] for name in _FIELDS})
            for row in rows
        ]
        return ActiveChats(active_chats_count=count, chats=chats)

    def _ask_redis(self, business_id: BusinessId, *, limit: int) -> ActivePage | None:
        try:
            return self._live_chats.list_active(business_id, limit)
        except RedisUnavailable as error:
            log.warning("active_chats_counted_by_postgres", cause=str(error))
            return None


_FIELDS = tuple(ActiveChat.model_fields)
