"""What is wrong with this machine, a config, and the nodes it names; nothing is changed.

What is read is kept apart from what is thought of it:

machine.py   limits and settings of this machine   ─> machine_checks.py                     ┐
node.py      what a node says of itself            ─> node_checks.py, setting_checks.py     ├─> finding.py
rights.py    commands that its user has to be allowed; terms.py   what the config has it do │
sockets.py   whether addresses can be listened on                                           │
store.py     whether the store answers                                                      │
files.py     certificates, and where state is kept                                          ┘
examine.py   all of it, for a config
"""
