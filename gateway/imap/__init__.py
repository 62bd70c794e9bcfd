"""The owners' door: IMAP4rev1 (RFC 3501) for mailboxes at home in the regions served here.

`session` tells the story of one connection; `stranger`, `resident` and `reader` are the states that it
goes through, each with the commands that it has. `scanner` and the grammars read what a client says,
`replies` holds what it is told; `fetching` and `finding` answer from a folder's index what can be
answered from it. `structure`, `sections`, `envelope` and `search` know messages, and nothing of sessions.
"""
