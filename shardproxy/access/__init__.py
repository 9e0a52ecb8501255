"""Who gets in.

inbound.py    from which addresses one may connect (pure)
"""
