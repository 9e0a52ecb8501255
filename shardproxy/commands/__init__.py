"""What the data plane hands to the control plane, one command family per file.

service.py   takes, bounds, answers            table.py    the command table, frozen
handlers.py  which handler has which command   learn.py    commands the table lacks
call.py      what a handler sees               shards.py   asking the nodes
generate.py  makes table.json and its like from a live engine and routes.toml
"""
