"""Taking data in, and comparing it.

url.py     where somebody else's keys are, as people write it    access.py  its secrets and certificates, read
found.py   its shards (pure)                                     find.py    asks for them
slots.py   slots of keys, and ranges of slots (pure)             diff/      compares two of them key by key
"""
