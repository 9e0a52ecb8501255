"""Who gets in, as whom, and what is noted of it.

audit.py      the audit log
sigv4.py      IAM tokens as AWS' signers make them: made, read, verified (pure)
policies.py   what a principal may connect to (pure)
iam_keys.py   the file with access keys, secrets and policies
iam.py        a login by IAM token against such a file
throttle.py   how many logins may be tried, and from where they are (pure)
http.py       a login that somebody else's service decides, and its answers kept for a while
turns.py      who may ask such a service, and when
troubles.py   what the log is told of it
verifiers.py  the seam, and who verifies whose logins, by cluster
build.py      from what is configured to verifiers
statistics.py what is counted of logins that are verified
"""
