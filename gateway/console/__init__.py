"""The console: the gateway for those who would rather look than read. `gateway/README.md` tells why.

It decides nothing. Each page asks the same functions as the HTTP API, as the same attempt in the
same log; what the console adds is a session in place of the Authorization header, and HTML.
"""
