-- Withdraw what a host announced of its spool, unless it was announced anew since that was read.
--
-- KEYS[1] ts:{spools}:oldest:<spool>  string, with a PX: the oldest receipt that waits, ISO 8601
-- KEYS[2] ts:{spools}:all             set of spools that may be announced
--
-- ARGV[1] said   what KEYS[1] held before the spool was found empty; '' for nothing
-- ARGV[2] spool  whose it is
--
-- Who found the spool empty may come late: what was appended and announced meanwhile stands.
--
-- Returns 1 where nothing is announced any more, 0 where something else is.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[2])
return 1
