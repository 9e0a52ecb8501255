"""Who may log in, where that is not a matter of a password: IAM tokens, and verifiers of others.

sigv4.py      tokens as AWS' signers make them: made, read, verified (pure)
policies.py   what a principal may connect to (pure)
iam_keys.py   the file with access keys, secrets and policies
iam.py        a login by IAM token against such a file (pure, but for its counters)
throttle.py   how many logins a user may try (pure)
http.py       a login that somebody else's service decides, and its answers kept for a while
verifiers.py  the seam, and who verifies whose logins, by cluster
statistics.py what is counted of it
"""
