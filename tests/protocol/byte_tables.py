"""Bytes that clients send, by what is odd about them."""

from __future__ import annotations

from tests.fixtures.oracle import command

# Protocol errors: one line, then a close. What follows in the same table is never answered.
BROKEN = {
    "count is not a number": b"*x\r\n",
    "count is empty": b"*\r\n",
    "count has a sign": b"*+1\r\n$4\r\nPING\r\n",
    "count has a space": b"* 1\r\n$4\r\nPING\r\n",
    "count has a leading zero": b"*01\r\n$4\r\nPING\r\n",
    "count is negative zero": b"*-0\r\n$4\r\nPING\r\n",
    "count is beyond 32 bits": b"*2147483648\r\n",
    "count is beyond 64 bits": b"*99999999999999999999\r\n",
    "no bulk string": b"*1\r\n:5\r\n",
    "no bulk string in second place": b"*2\r\n$3\r\nGET\r\n+k\r\n",
    "an array in an array": b"*2\r\n*1\r\n$1\r\nx\r\n$1\r\ny\r\n",
    "a line feed where a bulk string should be": b"*1\r\n\n",
    "a byte beyond ASCII where a bulk string should be": b"*1\r\n\xff",
    "null bulk string": b"*1\r\n$-1\r\n",
    "length is not a number": b"*1\r\n$x\r\n",
    "length is empty": b"*1\r\n$\r\n",
    "length has a sign": b"*1\r\n$+4\r\nPING\r\n",
    "length has a leading zero": b"*1\r\n$04\r\nPING\r\n",
    "length is negative": b"*1\r\n$-7\r\n",
    "length beyond 512 MiB": b"*1\r\n$536870913\r\n",
    "length beyond 64 bits": b"*1\r\n$99999999999999999999\r\n",
    "a good request, then a bad one": command("SET", "a", "1") + command("GET", "a") + b"*1\r\n$x\r\n",
    "an error behind a reply that is on its way": command("INCR", "n") * 5 + b"*z\r\n" + command("INCR", "n"),
    "inline quotes are not closed": b'GET "a\r\n',
    "inline single quotes are not closed": b"GET 'a\r\n",
    "inline text behind closing quotes": b'GET "a"b\r\n',
}

# Framing that is odd and allowed.
ODD = {
    "empty arrays are skipped": b"*0\r\n*0\r\n" + command("PING") + b"*-1\r\n" + command("PING", "x"),
    "any negative count is skipped": b"*-10\r\n" + command("PING"),
    "empty lines are skipped": b"\r\n\n\r\n" + command("PING"),
    "lines of spaces are skipped": b"   \r\n\t\r\n" + command("PING"),
    "empty argument": command("ECHO", ""),
    "empty command": command("") + command("", "x"),
    "empty key": command("SET", "", "v") + command("GET", ""),
    "line ends in a value": command("ECHO", b"a\r\n$3\r\nb") + command("ECHO", b"\r\n"),
    "any bytes in a value": command("ECHO", bytes(range(256))),
    "any bytes in a key": command("SET", bytes(range(256)), "v") + command("GET", bytes(range(256))),
    "any case": command("pInG")
    + command("sEt", "k", "v")
    + command("get", "k")
    + command("cLiEnT", "iD", "x"),
    "inline": b"PING\r\nPING\nping  x \r\nSET a b\r\nGET a\r\n",
    "inline with double quotes": b'ECHO "a b"\r\nECHO ""\r\nECHO "\\x41\\n\\r\\t\\b\\a\\\\\\"\\z"\r\n',
    "inline with half a hexadecimal number": b'ECHO "\\x4"\r\nECHO "\\xzz"\r\n',
    "inline with single quotes": b"ECHO 'a b'\r\nECHO ''\r\nECHO 'it\\'s \\n'\r\n",
    "inline with quotes within a word": b'ECHO a"b\r\n',
    "inline with tabs": b"ECHO\ta\r\n",
    "inline after a request, request after inline": command("PING") + b"PING\r\n" + command("PING"),
    "inline with a sign of RESP": b"$4\r\n+OK\r\n:1\r\n-ERR\r\n",
    "many arguments": command("DEL", *range(2000)),
    "a long value": command("SET", "k", b"x" * 300_000)
    + command("STRLEN", "k")
    + command("GETRANGE", "k", 0, 9),
}

# What no table or wrong use answers.
REFUSED = {
    "unknown": command("NOPE"),
    "unknown with arguments": command("NOPE", "a", "b c", ""),
    "unknown with many arguments": command("NOPE", *range(300)),
    "unknown with a long argument": command("NOPE", "x" * 300, "y"),
    "unknown with long arguments": command("NOPE", "x" * 100, "y" * 100, "z"),
    "unknown and long": command("N" * 300, "a"),
    "unknown with line ends": command("NO\r\nPE", "a\r\nb", "c\nd"),
    "unknown with control characters": command("NO\tPE", "a\x01b", b"\x7f"),
    "unknown beyond ASCII": command("né", "ü") + command(b"\xff\xfe", b"\x80"),
    "unknown with NUL": command(b"NO\0PE", b"a\0b"),
    "unknown with a percent sign": command("%s%n", "%d"),
    "a container's name with a bar": command("CLIENT|ID") + command("config|get", "x"),
    "arity": b"".join(
        map(command, ("GET", "SET", "MGET", "MSET", "DEL", "EXISTS", "TOUCH", "UNLINK", "EVAL"))
    ),
    "arity, too many": command("GET", 1, 2)
    + command("ECHO", 1, 2)
    + command("PING", 1, 2)
    + command("TIME", 1),
    "arity of pairs": command("MSET", "a", 1, "b")
    + command("MSETNX", "{t}a", 1, "{t}b")
    + command("HSET", "h", "f"),
    "arity of containers": b"".join(
        map(command, ("CLIENT", "CONFIG", "COMMAND|X", "OBJECT", "XGROUP", "SCRIPT"))
    ),
    "arity of subcommands": command("CLIENT", "SETNAME")
    + command("CLIENT", "ID", "x")
    + command("OBJECT", "FREQ"),
    "arity of local commands": b"".join(
        command(*words)
        for words in (
            ("ECHO",),
            ("SELECT",),
            ("HELLO",),
            ("RESET", "x"),
            ("READONLY", "x"),
            ("AUTH",),
            ("ASKING", 1),
        )
    ),
    "unknown subcommand": command("CLIENT", "NOPE")
    + command("OBJECT", "NOPE", "k")
    + command("XGROUP", "nope"),
    "unknown subcommand, long": command("CLIENT", "x" * 300),
    "unknown subcommand beyond ASCII": command("CLIENT", "\u00e9\r\nx"),
    "wrong type": command("SET", "s", 1) + command("LPUSH", "s", 1) + command("HGET", "s", "f"),
    "numbers of keys": b"".join(
        command("EVAL", "return 1", number, "k")
        for number in ("x", -1, 2, "", "1x", 99999999999999999999, "+1", "01")
    ),
    "numbers of keys of sets": b"".join(
        command(name, number, "k") for name in ("ZUNION", "SINTERCARD", "LMPOP") for number in (0, -1, 5, "x")
    ),
    "streams": command("XREAD", "COUNT", 1) + command("XREAD", "STREAMS", "a") + command("XREAD", "STREAMS"),
    "scripts nobody has": command("EVALSHA", "0" * 40, 0) + command("EVALSHA", "x", 1, "k"),
    "a bad cursor": command("HSCAN", "h", "x") + command("SSCAN", "s", -1) + command("SCAN", "x"),
}

# The connection's own state.
CONNECTION = {
    "ping and echo": command("PING") + command("PING", "") + command("PING", "x\r\n") + command("ECHO", "y"),
    "hello": command("HELLO")
    + command("HELLO", 2)
    + command("HELLO", 3)
    + command("HELLO")
    + command("HELLO", 2),
    "hello, bad version": command("HELLO", "x")
    + command("HELLO", "")
    + command("HELLO", "3.0")
    + command("HELLO", "+3"),
    "hello, odd numbers": command("HELLO", "03") + command("HELLO", " 3") + command("HELLO", "9" * 30),
    "hello, no such version": command("HELLO", 1) + command("HELLO", 4) + command("HELLO", -3),
    "hello, version before options": command("HELLO", 9, "NOPE") + command("HELLO", "x", "NOPE"),
    "hello, bad option": command("HELLO", 3, "NOPE")
    + command("HELLO", 3, "SETNAME")
    + command("HELLO", 3, "AUTH", "a"),
    "hello, odd option": command("HELLO", 3, b"N\r\nO")
    + command("HELLO", 3, "x" * 200)
    + command("HELLO", 3, b"\xff"),
    "hello, default user": command("HELLO", 3, "AUTH", "default", "x")
    + command("HELLO", 2, "auth", "default", ""),
    "hello, no such user": command("HELLO", 3, "AUTH", "nobody", "x") + command("CLIENT", "GETNAME"),
    "hello, a refusal keeps the version": command("HELLO", 3, "AUTH", "nobody", "x") + command("GET", "none"),
    "hello with a name": command("HELLO", 2, "SETNAME", "me") + command("CLIENT", "GETNAME"),
    "hello with user and name": command("HELLO", 3, "AUTH", "default", "x", "SETNAME", "me")
    + b"CLIENT GETNAME\r\n",
    "hello with a bad name": command("HELLO", 3, "SETNAME", "a b")
    + command("CLIENT", "GETNAME")
    + command("HELLO"),
    "hello, wrong user before bad option": command("HELLO", 3, "AUTH", "nobody", "x", "NOPE"),
    "auth": command("AUTH", "x") + command("AUTH", "default", "x") + command("AUTH", "nobody", "x"),
    "auth with too much": command("AUTH", "a", "b", "c"),
    "names": command("CLIENT", "GETNAME") + command("CLIENT", "SETNAME", "me") + command("CLIENT", "GETNAME"),
    "names that are none": b"".join(
        command("CLIENT", "SETNAME", name) for name in ("a b", "a\nb", b"\x7f", b"\xff", b"\0", "é")
    ),
    "a name is taken away": command("CLIENT", "SETNAME", "me")
    + command("CLIENT", "SETNAME", "")
    + b"CLIENT GETNAME\r\n",
    "replies off and on": command("CLIENT", "REPLY", "OFF")
    + command("PING")
    + command("SET", "k", 1)
    + b"x\r\n"
    + command("CLIENT", "REPLY", "ON")
    + command("GET", "k"),
    "replies skipped": command("CLIENT", "REPLY", "SKIP") + command("PING", "no") + command("PING", "yes"),
    "replies skipped, of shards": command("CLIENT", "REPLY", "SKIP")
    + command("SET", "k", 1)
    + command("GET", "k"),
    "replies skipped, of many": command("CLIENT", "REPLY", "SKIP")
    + command("MGET", "a", "b")
    + command("PING"),
    "replies skipped, of an error": command("CLIENT", "REPLY", "SKIP") + command("GET") + command("PING"),
    "replies skipped, of the unknown": command("CLIENT", "REPLY", "SKIP") + command("NOPE") + command("PING"),
    "replies skipped twice": command("CLIENT", "REPLY", "SKIP") * 2 + command("PING", 1) + command("PING", 2),
    "replies off behind skip": command("CLIENT", "REPLY", "SKIP")
    + command("CLIENT", "REPLY", "OFF")
    + command("PING")
    + command("CLIENT", "REPLY", "ON"),
    "replies, no such mode": command("CLIENT", "REPLY", "MAYBE") + command("CLIENT", "REPLY"),
    "switches": command("CLIENT", "NO-EVICT", "ON")
    + command("CLIENT", "NO-EVICT", "x")
    + command("CLIENT", "NO-EVICT"),
    "databases": command("SELECT", 3)
    + command("SET", "k", 3)
    + command("SELECT", 0)
    + command("GET", "k")
    + command("SELECT", 3)
    + command("GET", "k"),
    "databases that are none": b"".join(
        command("SELECT", db) for db in (16, -1, "x", "", "1x", "01", "9" * 30)
    ),
    "a reset forgets": command("SELECT", 3)
    + command("CLIENT", "SETNAME", "me")
    + command("RESET")
    + command("CLIENT", "GETNAME")
    + command("SET", "k", 1)
    + command("SELECT", 0)
    + command("GET", "k"),
    "a reset ends silence": command("CLIENT", "REPLY", "OFF")
    + command("PING")
    + command("RESET")
    + command("PING"),
    "a reset in a pipeline": command("SET", "a", 1) + command("RESET") + command("GET", "a"),
    "versions change in a pipeline": b"".join(
        command("INCR", "n") + command("HELLO", resp) + command("INCR", "n") for resp in (3, 2, 3)
    ),
    "databases change in a pipeline": b"".join(
        command("INCR", "n") + command("SELECT", db) + command("MOVE", "n", db) for db in (1, 2, 0, 1)
    ),
    "a reset goes back to RESP2": command("HELLO", 3)
    + command("GET", "none")
    + command("RESET")
    + command("GET", "none"),
    "quit": command("QUIT") + command("PING"),
    "quit behind replies": command("INCR", "n") * 20 + command("QUIT") + command("INCR", "n"),
    "quit with arguments": command("QUIT", "now", "please"),
    "quit inline": b"quit\r\n",
}

# Keys, and RESP3's own types on their way through.
THROUGH = {
    "strings": command("SET", "k", "v")
    + command("GET", "k")
    + command("GET", "none")
    + command("APPEND", "k", "w"),
    "hashes": command("HSET", "h", "a", 1, "b", 2)
    + command("HGETALL", "h")
    + command("HMGET", "h", "a", "none"),
    "sets": command("SADD", "s", "m") + command("SMEMBERS", "s") + command("SMISMEMBER", "s", "m", "n"),
    "scores": command("ZADD", "z", "1.5", "a", "inf", "b")
    + command("ZSCORE", "z", "a")
    + command("ZRANGE", "z", 0, -1, "WITHSCORES")
    + command("ZMSCORE", "z", "a", "none")
    + command("ZSCORE", "z", "b"),
    "lists": command("RPUSH", "l", 1, 2, 3) + command("LRANGE", "l", 0, -1) + command("LPOP", "none", 2),
    "nested arrays": command("EVAL", "return {1,{2,{3,{}}},'x'}", 0),
    "types a script returns": b"".join(
        command("EVAL", f"redis.setresp(3); return {value}", 0)
        for value in (
            "true",
            "false",
            "{double=1.25}",
            "{map={a=1}}",
            "{set={a=true}}",
            "{ok='fine'}",
            "{err='MY bad'}",
            "nil",
            "{big_number='123456789012345678901234567890'}",
            "{verbatim_string={format='txt', string='hello'}}",
        )
    ),
    "streams": command("XADD", "x", "1-1", "f", "v")
    + command("XRANGE", "x", "-", "+")
    + command("XREAD", "STREAMS", "x", 0),
    "many keys": command("MSET", "a", 1, "b", 2, "c", 3)
    + command("MGET", "a", "none", "b", "c", "a")
    + command("EXISTS", "a", "a", "none")
    + command("DEL", "a", "a", "b")
    + command("UNLINK", "c", "none")
    + b"TOUCH a\r\n",
    "a wrong type among many": command("LPUSH", "l", 1) + command("SET", "a", 1) + command("MGET", "l", "a"),
    "geo": command("GEOADD", "g", "13.361389", "38.115556", "p") + command("GEOPOS", "g", "p", "none"),
}

# What an engine says here depends on how much it reads at once, or it never answers: the replies are ours.
OWN = {
    "count has no end": (b"*" + b"1" * 66_000, b"-ERR Protocol error: too big mbulk count string\r\n"),
    "length has no end": (b"*1\r\n$" + b"1" * 66_000, b"-ERR Protocol error: too big bulk count string\r\n"),
    "inline line has no end": (b"x" * 66_000, b"-ERR Protocol error: too big inline request\r\n"),
    "a NUL where a bulk string should be": (b"*1\r\n\0", b"-ERR Protocol error: expected '$', got '\0'\r\n"),
    # an engine skips two bytes unseen; what is smuggled there would reach a connection that others share
    "count ends in anything": (b"*1\rX$4\r\nPING\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    "length ends in anything": (b"*1\r\n$4\rXPING\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    "argument ends in anything": (b"*1\r\n$4\r\nPINGXX", b"-ERR Protocol error: invalid bulk length\r\n"),
    # an engine throws away what it has answered so far
    "an HTTP request": (b"POST / HTTP/1.1\r\nHost: localhost\r\n", b""),
    "an HTTP request as an array": (command("POST", "/") + command("PING"), b""),
    "an HTTP header": (b"hOsT: localhost\r\n", b""),
    "HTTP behind a request": (b"PING\r\nPOST / HTTP/1.1\r\n", b"+PONG\r\n"),
    # an engine that may say nothing never closes
    "quit in silence": (command("CLIENT", "REPLY", "OFF") + command("QUIT"), b""),
}
