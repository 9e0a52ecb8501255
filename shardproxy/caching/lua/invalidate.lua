-- Forgets a key: whoever loads it loads it again, and who writes it through leaves it cold, as others may have changed it
-- behind that COMMIT. KEYS: key, lease, new. Replies whether it had a value.
redis.call('DEL', KEYS[2], KEYS[3])
return redis.call('DEL', KEYS[1])
