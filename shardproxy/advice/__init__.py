"""What an application's commands would meet on several shards, and which key families would cure it.

`monitor` reads what MONITOR says, `verdict` judges it request by request, `patterns` and `cure` make sense of
many, `study` gathers it all within bounds. Only `listen` knows sockets.
"""
