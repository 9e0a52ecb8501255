"""A sample of requests as OpenTelemetry spans, for a collector.

statistics.py  how many were sent      spans.py  a request as spans, by the conventions for databases
run.py         the service: takes what the workers sampled, and sends it
"""
