"""Redis Sentinel decides: a majority of the configured Sentinels is believed, and what the node itself says.

answers.py  what one Sentinel says       decide.py   what that means (pure)
asker.py    asks one Sentinel            source.py   follows them
"""
