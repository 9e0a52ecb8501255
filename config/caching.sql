-- Tells proxies what was changed in the database, whoever changed it: for `invalidate: {source: main, channel: cache}`
-- in config/caching.yaml. PostgreSQL 11 or newer.
--
--   psql -f config/caching.sql app
--
-- A payload is the parts of keys as a JSON object: {"id": 42} stands for the keys of all rules whose parts are among
-- them, as user:42:profile. A key itself ('user:42:profile') or a JSON array of keys does as well; an empty payload
-- stands for all keys. It is sent when the transaction commits, and only then.

create or replace function cache_changed() returns trigger language plpgsql as $$
declare
  part text := tg_argv[0];    -- what match calls it
  source text := tg_argv[1];  -- the column it is
begin
  if tg_op <> 'INSERT' then
    perform pg_notify('cache', jsonb_build_object(part, to_jsonb(old) -> source)::text);
  end if;
  if tg_op <> 'DELETE' and (tg_op = 'INSERT' or to_jsonb(old) -> source <> to_jsonb(new) -> source) then
    perform pg_notify('cache', jsonb_build_object(part, to_jsonb(new) -> source)::text);
  end if;
  return null;
end $$;

create or replace function cache_emptied() returns trigger language plpgsql as $$
begin
  perform pg_notify('cache', '');
  return null;
end $$;

drop trigger if exists cache_changed on users;
create trigger cache_changed after insert or update or delete on users
  for each row execute function cache_changed('id', 'id');

drop trigger if exists cache_emptied on users;
create trigger cache_emptied after truncate on users
  for each statement execute function cache_emptied();
