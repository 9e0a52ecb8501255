"""Where values come from: databases, HTTP servers, functions in Python."""
